"""Chat templates to try things on: those that TRL ships, and a dozen written here; each with a tokenizer that knows its tokens.

Written here are the forms that families have whose templates TRL does not ship: what they do that is special is kept, in a
few lines. `stops` are the tokens at which generation ends with models of the family.
"""

import re
from pathlib import Path

CHATML = """{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}"
    + CHATML
)
MISTRAL = """{{ bos_token }}{% set system = '' %}{% for message in messages %}
{%- if message.role == 'system' %}{% set system = message.content + '\\n\\n' %}
{%- elif message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{{ ' ' + message.content | trim + eos_token }}
{%- else %}{{ raise_exception('only user and assistant turns') }}{% endif %}{% endfor %}"""
MISTRAL_LAST_SYSTEM = """{{ bos_token }}{% if messages[0].role == 'system' %}{% set system, turns = messages[0].content, messages[1:] %}
{%- else %}{% set system, turns = none, messages %}{% endif %}{% for message in turns %}
{%- if message.role == 'user' %}{% if loop.last and system %}{{ '[INST]' + system + '\\n\\n' + message.content + '[/INST]' }}
{%- else %}{{ '[INST]' + message.content + '[/INST]' }}{% endif %}{% else %}{{ message.content + eos_token }}{% endif %}{% endfor %}"""
ZEPHYR = """{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""
VICUNA = """{% for message in messages %}{% if message.role == 'system' %}{{ message.content + ' ' }}
{%- elif message.role == 'user' %}{{ 'USER: ' + message.content + ' ' }}{% else %}{{ 'ASSISTANT: ' + message.content + eos_token }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
PHI4 = """{% for message in messages %}{{ '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""
GRANITE = """{% set today = strftime_now('%B %d, %Y') %}{% if messages[0].role != 'system' %}
{{- '<|start_of_role|>system<|end_of_role|>Today is ' + today + '.<|end_of_text|>\\n' }}{% endif %}{% for message in messages %}
{{- '<|start_of_role|>' + message.role + '<|end_of_role|>' + message.content + '<|end_of_text|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"""
OLMO = """{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %}{{ '<|assistant|>\\n' + message.content + eos_token }}
{%- if not loop.last %}{{ '\\n' }}{% endif %}{% else %}{{ '<|' + message.role + '|>\\n' + message.content + '\\n' }}{% endif %}
{%- if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"""
GLM = """[gMASK]<sop>{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""
MACROS = """{% macro turn(role, text) %}{{ '<s>' + role + ': ' + text | trim + '</s>\\n' }}{% endmacro %}
{%- for message in messages %}{{ turn(message.role, message.content) }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant:' }}{% endif %}"""
SHOUTING = """{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content | upper + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
ENDLESS = """{% for message in messages %}{{ message.role + ': ' + message.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"""
FORGETFUL = """{% for message in messages[-2:] %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

NEMO = """{{ bos_token }}{%- if tools %}{{ '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}{% for message in messages %}
{%- if message.role == 'user' %}{{ '[INST]' + message.content + '[/INST]' }}
{%- elif message.tool_calls is defined %}{{ '[TOOL_CALLS][' }}{% for call in message.tool_calls %}
{%- if call.id is not defined or call.id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}
{{- '{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + ', "id": "' + call.id + '"}' }}{% endfor %}{{ ']' + eos_token }}
{%- elif message.role == 'assistant' %}{{ message.content + eos_token }}
{%- elif message.role == 'tool' %}{% if message.tool_call_id is not defined or message.tool_call_id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}
{{- '[TOOL_RESULTS]{"content": ' + message.content + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}{% endif %}{% endfor %}"""
QWQ = """{% for message in messages %}{% if message.role == 'assistant' %}{% set content = message.content.split('</think>')[-1].lstrip('\n') %}
{{- '<|im_start|>assistant\n' + content + '<|im_end|>\n' }}{% else %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"""
V31 = """{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}{% elif message.role == 'user' %}{{ '<｜User｜>' + message.content }}
{%- else %}{{ '<｜Assistant｜></think>' + message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}{% endif %}"""
PARTS = """{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% for part in message.content %}{% if part.type == 'image' %}{{ '<image>' }}
{%- else %}{{ part.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

OURS = {  # name: (template, tokens at which generation ends)
    "chatml": (CHATML, ["<|im_end|>"]),
    "chatml with a default system turn": (DEFAULT_SYSTEM, ["<|im_end|>"]),
    "mistral": (MISTRAL, ["</s>"]),
    "mistral, system turn in the last question": (MISTRAL_LAST_SYSTEM, ["</s>"]),
    "zephyr": (ZEPHYR, ["</s>"]),
    "vicuna": (VICUNA, ["</s>"]),
    "phi-4": (PHI4, ["<|im_end|>"]),
    "granite": (GRANITE, ["<|end_of_text|>"]),
    "olmo": (OLMO, ["<|endoftext|>"]),
    "glm": (GLM, ["<|endoftext|>", "<|user|>", "<|observation|>"]),
    "macros": (MACROS, ["</s>"]),
    "mistral with tools": (NEMO, ["</s>"]),
    "qwq": (QWQ, ["<|im_end|>"]),
    "deepseek v3.1": (V31, ["<｜end▁of▁sentence｜>"]),
    "deepseek v3.1, thinking": ("{% set thinking = true %}" + V31, ["<｜end▁of▁sentence｜>"]),
    "content in parts": (PARTS, ["<|im_end|>"]),
    "changes what is said": (SHOUTING, ["<|im_end|>"]),
    "without an end of turn": (ENDLESS, ["</s>"]),
    "shows two turns": (FORGETFUL, ["<|im_end|>"]),
}
STOPS = {  # of the families that TRL ships; what is not named here ends with <|im_end|>
    "cohere": ["<|END_OF_TURN_TOKEN|>"], "cohere2": ["<|END_OF_TURN_TOKEN|>"],
    "deepseek_r1_distill": ["<｜end▁of▁sentence｜>"], "deepseekv3": ["<｜end▁of▁sentence｜>"],
    "diffusion_gemma": ["<turn|>", "<|tool_response>"], "gemma4": ["<turn|>", "<|tool_response>"],
    "gemma": ["<end_of_turn>"], "gemma3": ["<end_of_turn>"],
    "glm4moe": ["<|endoftext|>", "<|user|>", "<|observation|>"], "gptoss": ["<|return|>", "<|call|>"],
    "idefics3": ["<end_of_utterance>"], "llama3": ["<|eot_id|>"], "llama3_1": ["<|eot_id|>", "<|eom_id|>"],
    "llama3_2": ["<|eot_id|>", "<|eom_id|>"], "muse_glimmer": ["<|eot|>"], "phi3": ["<|end|>", "<|endoftext|>"],
    "phi3_5": ["<|end|>", "<|endoftext|>"], "llava_next": ["</s>"],
}  # fmt: skip
SPECIAL = re.compile(
    r"<\|[A-Za-z_\-]+\|?>|<[a-z_]+\|>|<｜[^｜>]+｜>|</?s>|<(?:start|end)_of_\w+>|<(?:eos|bos|sop)>|\[/?[A-Z_]+\]|\[gMASK\]"
)


def of_trl():
    """{family: (template, tokens at which generation ends)} of those that TRL ships."""
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    paths = [path for path in sorted(folder.glob("*.jinja")) if not path.stem.endswith("_training")]
    return {path.stem: (path.read_text(encoding="utf-8"), STOPS.get(path.stem, ["<|im_end|>"])) for path in paths}


def tokenizer_of(template, stops):
    """A byte-level tokenizer in which every control token that a template writes is a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys([*SPECIAL.findall(template), *stops, "<s>"]))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(special + alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token=stops[0], pad_token=stops[0], additional_special_tokens=special,
        clean_up_tokenization_spaces=False, chat_template=template,
    )  # fmt: skip


def renderer_of(template, stops, **options):
    from stages.training.rendering import Renderer

    tokenizer = tokenizer_of(template, stops)
    return Renderer(tokenizer, tokenizer.convert_tokens_to_ids(stops), **options)


FAMILIES = {**of_trl(), **OURS}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris", "days": 3}}}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": PARAMETERS}}]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "Speak briefly"}
FOUND = {"role": "tool", "content": "sunny", "name": "weather"}
SHAPES = {
    "one turn": ([user("two and two"), assistant("four")], None),
    "many turns": ([user("one"), assistant("first"), user("two"), assistant("second"), user("three"), assistant("third\n\nline")], None),
    "system": ([SYSTEM, user("one"), assistant("first"), user("two"), assistant("second")], None),
    "tools": ([user("will it rain"), assistant(None, tool_calls=[CALL]), FOUND, assistant("clear")], TOOLS),
    "text beside a call": ([user("will it rain"), assistant("wait", tool_calls=[CALL]), FOUND, assistant("clear")], TOOLS),
    "reasoning": ([user("one"), assistant("first", reasoning_content="pondering"), user("two"), assistant("second", reasoning_content="musing")], None),
    "thought in the last turn": ([user("one"), assistant("first"), user("two"), assistant("second", reasoning_content="musing\n\non it")], None),
    "thought before a call": ([user("will it rain"), assistant("", reasoning_content="pondering", tool_calls=[CALL]), FOUND, assistant("clear")], TOOLS),
    "context turn": ([user("one"), assistant("first", train=False), user("two"), assistant("second", train=True)], None),
    "ids of calls": ([user("will it rain"), assistant(None, tool_calls=[CALL | {"id": "call_a1b2"}]), FOUND | {"tool_call_id": "call_a1b2"}, assistant("clear")], TOOLS),
    "null keys": ([user("one") | {"tool_calls": None}, assistant("first", tool_calls=None, reasoning_content=None, train=None, tool_call_id=None, name=None)], None),
}  # fmt: skip
