"""Records as public datasets have them, written from memory of their structure: what each becomes, and which keys stop its file."""

import pytest

from stages.rows.key_account import KeyAccount
from stages.rows.options import Options
from stages.rows.shapes import rows_of
from stages.rows.values import Unreadable

# (name, kind, record, its rows in short or the check that rejects it, keys that are lost)
FORMS = [
    ('glaive-lf', 'sft', {'conversations': [{'from': 'human', 'value': 'q'}, {'from': 'function_call', 'value': '{"name": "f", "arguments": {"a": 1}}'}, {'from': 'observation', 'value': '{"r": 2}'}, {'from': 'gpt', 'value': 'done'}], 'tools': '[{"name": "f", "description": "d", "parameters": {}}]', 'system': ''}, ['messages=u:q / a:[tool_calls] / t:{"r": 2} / a:done'], []),
    ('openai-ft', 'sft', {'messages': [{'role': 'system', 'content': 's'}, {'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'no', 'weight': 0}, {'role': 'user', 'content': 'again'}, {'role': 'assistant', 'content': 'yes', 'weight': 1}]}, ['messages=s:s / u:q / a:no[train] / u:again / a:yes'], []),
    ('openai-ft-par', 'sft', {'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'tool_calls': [{'id': 'c1', 'type': 'function', 'function': {'name': 'f', 'arguments': '{"x": 1}'}}, {'id': 'c2', 'type': 'function', 'function': {'name': 'f', 'arguments': '{"x": 2}'}}]}, {'role': 'tool', 'tool_call_id': 'c1', 'content': '1'}, {'role': 'tool', 'tool_call_id': 'c2', 'content': '2'}, {'role': 'assistant', 'content': '3'}], 'parallel_tool_calls': False, 'tools': [{'type': 'function', 'function': {'name': 'f', 'parameters': {}}}]}, ['messages=u:q / a:[tool_calls] / t:1 / t:2 / a:3'], []),
    ('openai-ft-fn', 'sft', {'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'function_call': {'name': 'f', 'arguments': '{}'}}, {'role': 'function', 'name': 'f', 'content': '1'}, {'role': 'assistant', 'content': '3'}], 'functions': [{'name': 'f', 'parameters': {}}]}, ['messages=u:q / a:[tool_calls] / t:1 / a:3'], []),
    ('hermes', 'sft', {'id': '1', 'conversations': [{'from': 'system', 'value': 'You may call <tools>[]</tools>'}, {'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'}, {'from': 'tool', 'value': '<tool_response>\n1\n</tool_response>'}, {'from': 'gpt', 'value': 'a'}], 'tools': '[{"type": "function", "function": {"name": "f"}}]', 'category': 'c', 'subcategory': 's', 'task': 't', 'source': 'x'}, ['messages=s:You may call <tools>[]</tools> / u:q / a:<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call> / t:<tool_response>\n1\n</tool_response> / a:a'], []),
    ('ultrafeedback-bin', 'preference', {'prompt': 'q', 'prompt_id': 'i', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'score_chosen': 8.5, 'score_rejected': 3.0}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('ultrafeedback-bin', 'sft', {'prompt': 'q', 'prompt_id': 'i', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'score_chosen': 8.5, 'score_rejected': 3.0}, ['messages=u:q / a:a'], []),
    ('ultrafeedback-bin', 'kto', {'prompt': 'q', 'prompt_id': 'i', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'score_chosen': 8.5, 'score_rejected': 3.0}, ['prompt=u:q | completion=a:a | label=True', 'prompt=u:q | completion=a:b | label=False'], []),
    ('ultrafeedback', 'preference', {'source': 's', 'instruction': 'q', 'models': ['m1', 'm2'], 'completions': [{'annotations': {'helpfulness': {'Rating': '4'}}, 'custom_system_prompt': 'c', 'model': 'm1', 'principle': 'h', 'response': 'a', 'critique': 'c', 'overall_score': 7.5, 'fine-grained_score': 4.0}, {'annotations': {}, 'custom_system_prompt': 'c', 'model': 'm2', 'principle': 'h', 'response': 'b', 'critique': 'd', 'overall_score': 5.0, 'fine-grained_score': 3.0}], 'correct_answers': ['None'], 'incorrect_answers': ['None']}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('ultrafeedback-cleaned', 'preference', {'source': 's', 'prompt': 'q', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'chosen-rating': 5.0, 'chosen-model': 'm', 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'rejected-rating': 1.0, 'rejected-model': 'n'}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('helpsteer', 'sft', {'prompt': 'q', 'response': 'a', 'helpfulness': 3, 'correctness': 4, 'coherence': 4, 'complexity': 2, 'verbosity': 1}, ['messages=u:q / a:a'], []),
    ('helpsteer3', 'preference', {'domain': 'g', 'language': 'english', 'context': [{'role': 'user', 'content': 'q'}], 'response1': 'a', 'response2': 'b', 'overall_preference': -2, 'individual_preference': [{'score': -2, 'reasoning': 'r', 'feedback_summary': 'f'}]}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('safe-rlhf', 'preference', {'prompt': 'q', 'response_0': 'a', 'response_1': 'b', 'is_response_0_safe': True, 'is_response_1_safe': False, 'better_response_id': 0, 'safer_response_id': 0, 'prompt_source': 'x', 'response_0_source': 'y', 'response_1_source': 'z', 'response_0_severity_level': 0, 'response_1_severity_level': 2, 'response_0_harm_category': {'v': False}, 'response_1_harm_category': {'v': True}, 'response_0_sha256': 'aa', 'response_1_sha256': 'bb'}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('lmsys-arena', 'preference', {'question_id': '1', 'model_a': 'x', 'model_b': 'y', 'winner': 'model_a', 'judge': 'j', 'conversation_a': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'conversation_b': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'turn': 1, 'anony': True, 'language': 'English', 'tstamp': 1.0, 'openai_moderation': {}, 'toxic_chat_tag': {}}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('lmsys-chat', 'sft', {'conversation_id': '1', 'model': 'm', 'conversation': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'turn': 1, 'language': 'English', 'openai_moderation': [{'flagged': False}], 'redacted': False}, ['messages=u:q / a:a'], []),
    ('arc', 'grpo', {'id': '1', 'question': 'q?', 'choices': {'text': ['x', 'y'], 'label': ['A', 'B']}, 'answerKey': 'B'}, ['prompt=u:q?\nA. x\nB. y | ground_truth=B'], []),
    ('arc', 'sft', {'id': '1', 'question': 'q?', 'choices': {'text': ['x', 'y'], 'label': ['A', 'B']}, 'answerKey': 'B'}, ['messages=u:q?\nA. x\nB. y / a:B'], []),
    ('arc-num', 'grpo', {'id': '1', 'question': 'q?', 'choices': {'text': ['x', 'y'], 'label': ['1', '2']}, 'answerKey': '2'}, ['prompt=u:q?\n1. x\n2. y | ground_truth=2'], []),
    ('mmlu', 'grpo', {'question': 'q?', 'subject': 's', 'choices': ['w', 'x', 'y', 'z'], 'answer': 2}, ['prompt=u:q?\nA. w\nB. x\nC. y\nD. z | ground_truth=C'], []),
    ('mmlu', 'sft', {'question': 'q?', 'subject': 's', 'choices': ['w', 'x', 'y', 'z'], 'answer': 2}, ['messages=u:q?\nA. w\nB. x\nC. y\nD. z / a:C'], []),
    ('mmlu-pro', 'grpo', {'question_id': 1, 'question': 'q?', 'options': ['w', 'x'], 'answer': 'B', 'answer_index': 1, 'cot_content': 'A: think', 'category': 'c', 'src': 's'}, ['prompt=u:q?\nA. w\nB. x | ground_truth=B'], []),
    ('medqa', 'grpo', {'question': 'q', 'answer': 'x text', 'options': {'A': 'x text', 'B': 'y text'}, 'meta_info': 'step1', 'answer_idx': 'A'}, ['prompt=u:q\nA. x text\nB. y text | ground_truth=A'], []),
    ('gsm8k', 'sft', {'question': 'q', 'answer': '2+2=4\n#### 4'}, ['messages=u:q / a:2+2=4\n#### 4'], []),
    ('gsm8k', 'grpo', {'question': 'q', 'answer': '2+2=4\n#### 4'}, ['prompt=u:q | ground_truth=2+2=4\n#### 4'], []),
    ('math', 'sft', {'problem': 'p', 'level': 'Level 5', 'type': 'Algebra', 'solution': 'so \\boxed{4}'}, ['messages=u:p / a:so \\boxed{4}'], []),
    ('math', 'grpo', {'problem': 'p', 'level': 'Level 5', 'type': 'Algebra', 'solution': 'so \\boxed{4}'}, ['prompt=u:p | ground_truth=so \\boxed{4}'], []),
    ('math500', 'sft', {'problem': 'p', 'solution': 'so \\boxed{4}', 'answer': '4', 'subject': 'a', 'level': 2, 'unique_id': 'u'}, ['messages=u:p / a:so \\boxed{4}'], []),
    ('math500', 'grpo', {'problem': 'p', 'solution': 'so \\boxed{4}', 'answer': '4', 'subject': 'a', 'level': 2, 'unique_id': 'u'}, ['prompt=u:p | ground_truth=4'], []),
    ('numina', 'sft', {'source': 's', 'problem': 'p', 'solution': 'so 4', 'messages': [{'role': 'user', 'content': 'p'}, {'role': 'assistant', 'content': 'so 4'}]}, ['messages=u:p / a:so 4'], []),
    ('numina', 'grpo', {'source': 's', 'problem': 'p', 'solution': 'so 4', 'messages': [{'role': 'user', 'content': 'p'}, {'role': 'assistant', 'content': 'so 4'}]}, ['prompt=u:p | ground_truth=so 4'], []),
    ('openr1', 'sft', {'problem': 'p', 'solution': 'sol', 'answer': '4', 'problem_type': 'Algebra', 'question_type': 'math', 'source': 'o', 'uuid': 'u', 'is_reasoning_complete': [True, False], 'generations': ['<think>\nt\n</think>\n\nso 4', '<think>x'], 'correctness_math_verify': [True, False], 'correctness_llama': None, 'finish_reasons': None, 'correctness_count': 1, 'messages': [{'role': 'user', 'content': 'p'}, {'role': 'assistant', 'content': '<think>\nt\n</think>\n\nso 4'}]}, ['messages=u:p / a:so 4[reasoning_content]'], []),
    ('openr1', 'grpo', {'problem': 'p', 'solution': 'sol', 'answer': '4', 'problem_type': 'Algebra', 'question_type': 'math', 'source': 'o', 'uuid': 'u', 'is_reasoning_complete': [True, False], 'generations': ['<think>\nt\n</think>\n\nso 4', '<think>x'], 'correctness_math_verify': [True, False], 'correctness_llama': None, 'finish_reasons': None, 'correctness_count': 1, 'messages': [{'role': 'user', 'content': 'p'}, {'role': 'assistant', 'content': '<think>\nt\n</think>\n\nso 4'}]}, ['prompt=u:p | ground_truth=so 4'], ['answer', 'generations', 'solution']),
    ('openr1-traces', 'sft', {'prompt': 'p', 'generation': '<think>t</think>a', 'reasoning': 't', 'messages': [{'role': 'user', 'content': 'p'}, {'role': 'assistant', 'content': '<think>t</think>a'}]}, ['messages=u:p / a:a[reasoning_content]'], []),
    ('dolly', 'sft', {'instruction': 'i', 'context': 'c', 'response': 'r', 'category': 'qa'}, ['messages=u:i\nc / a:r'], []),
    ('dolly-empty', 'sft', {'instruction': 'i', 'context': '', 'response': 'r', 'category': 'qa'}, ['messages=u:i / a:r'], []),
    ('oasst-row', 'sft', {'message_id': '1', 'parent_id': '0', 'user_id': 'u', 'text': 't', 'role': 'prompter', 'lang': 'en', 'rank': None, 'labels': {'name': ['spam'], 'value': [0.1], 'count': [3]}}, 'ingest.missing_key', []),
    ('oasst-guanaco', 'sft', {'text': '### Human: q### Assistant: a'}, 'ingest.missing_key', []),
    ('oasst-top1', 'sft', {'conversation': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}]}, ['messages=u:q / a:a'], []),
    ('xlam', 'sft', {'id': 0, 'query': 'q', 'answers': '[{"name": "f", "arguments": {"a": 1}}]', 'tools': '[{"name": "f", "description": "d", "parameters": {"a": {"type": "int"}}}]'}, ['messages=u:q / a:[tool_calls]'], []),
    ('toolace', 'sft', {'system': 'You can call functions: [..]', 'conversations': [{'from': 'user', 'value': 'q'}, {'from': 'assistant', 'value': '[f(a=1)]'}, {'from': 'tool', 'value': '[1]'}, {'from': 'assistant', 'value': 'done'}]}, ['messages=s:You can call functions: [..] / u:q / a:[f(a=1)] / t:[1] / a:done'], []),
    ('orpo-mix', 'preference', {'source': 's', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'prompt': 'q', 'question': 'q'}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('orpo-mix-multi', 'preference', {'source': 's', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'x'}, {'role': 'user', 'content': 'q2'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'x'}, {'role': 'user', 'content': 'q2'}, {'role': 'assistant', 'content': 'b'}], 'prompt': 'q', 'question': 'q'}, ['prompt=u:q / a:x / u:q2 | chosen=a:a | rejected=a:b'], []),
    ('ultrachat', 'sft', {'prompt': 'q', 'prompt_id': 'i', 'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}, {'role': 'user', 'content': 'b'}, {'role': 'assistant', 'content': 'c'}]}, ['messages=u:q / a:a / u:b / a:c'], []),
    ('nectar', 'preference', {'prompt': '\n\nHuman: q\n\nAssistant: ', 'answers': [{'answer': 'a', 'model': 'm', 'rank': 1.0}, {'answer': 'b', 'model': 'n', 'rank': 2.0}], 'turns': 1, 'num_responses': 2, 'source': ['x'], 'good_natured': True}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('argilla-dpo-mix', 'preference', {'dataset': 'd', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'chosen_rating': 5.0, 'rejected_rating': 2.0}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('argilla-dpo-mix', 'kto', {'dataset': 'd', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'chosen_rating': 5.0, 'rejected_rating': 2.0}, ['prompt=u:q | completion=a:a | label=True', 'prompt=u:q | completion=a:b | label=False'], []),
    ('orca-dpo', 'preference', {'system': 's', 'question': 'q', 'chosen': 'a', 'rejected': 'b'}, ['prompt=s:s / u:q | chosen=a:a | rejected=a:b'], []),
    ('orca-dpo-argilla', 'preference', {'system': 's', 'input': 'q', 'chosen': 'a', 'rejected': 'b', 'generations': ['a', 'b'], 'order': ['x'], 'labelling_model': 'm', 'labelling_prompt': [{'role': 'user', 'content': 'z'}], 'raw_labelling_response': 'r', 'rating': [9, 1], 'rationale': 'why', 'status': 'ok', 'original_chosen': 'a', 'original_rejected': 'b', 'chosen_score': 9.0, 'in_gsm8k_train': False}, ['prompt=s:s / u:q | chosen=a:a | rejected=a:b'], []),
    ('capybara-argilla', 'preference', {'source': 's', 'conversation': [{'input': 'q', 'output': 'x'}, {'input': 'q2', 'output': 'a'}], 'original_response': 'a', 'generation_prompt': ['p'], 'raw_generation_responses': ['r'], 'new_generations': ['n'], 'prompt': 'pp', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'x'}, {'role': 'user', 'content': 'q2'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'x'}, {'role': 'user', 'content': 'q2'}, {'role': 'assistant', 'content': 'b'}], 'rating_chosen': 5, 'rating_rejected': 3, 'chosen_model': 'm', 'rejected_model': 'n'}, ['prompt=u:pp | chosen=u:q / a:x / u:q2 / a:a | rejected=u:q / a:x / u:q2 / a:b'], []),
    ('platypus', 'sft', {'input': '', 'output': 'a', 'instruction': 'q', 'data_source': 'leetcode'}, ['messages=u:q / a:a'], []),
    ('codealpaca', 'sft', {'output': 'a', 'instruction': 'q', 'input': 'x'}, ['messages=u:q\nx / a:a'], []),
    ('alpaca-text', 'sft', {'output': 'a', 'instruction': 'q', 'input': 'x', 'text': 'Below is ... ### Instruction: q ### Input: x ### Response: a'}, ['messages=u:q\nx / a:a'], []),
    ('evol', 'sft', {'instruction': 'q', 'output': 'a'}, ['messages=u:q / a:a'], []),
    ('evol-wiz', 'sft', {'idx': '1', 'conversations': [{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': 'a'}]}, ['messages=u:q / a:a'], []),
    ('slimorca', 'sft', {'conversations': [{'from': 'system', 'value': 's', 'weight': None}, {'from': 'human', 'value': 'q', 'weight': 0.0}, {'from': 'gpt', 'value': 'a', 'weight': 1.0}]}, ['messages=s:s / u:q / a:a'], []),
    ('openorca', 'sft', {'id': '1', 'system_prompt': 's', 'question': 'q', 'response': 'a'}, ['messages=s:s / u:q / a:a'], []),
    ('kto-mix', 'kto', {'prompt': [{'role': 'user', 'content': 'q'}], 'completion': [{'role': 'assistant', 'content': 'a'}], 'label': True}, ['prompt=u:q | completion=a:a | label=True'], []),
    ('kto-mix-14k', 'kto', {'dataset': 'd', 'prompt': [{'role': 'user', 'content': 'q'}], 'completion': [{'role': 'assistant', 'content': 'a'}], 'label': True, 'rating': 5}, ['prompt=u:q | completion=a:a | label=True'], []),
    ('hh', 'preference', {'chosen': '\n\nHuman: q\n\nAssistant: a', 'rejected': '\n\nHuman: q\n\nAssistant: b'}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('shp', 'preference', {'post_id': '1', 'domain': 'd', 'history': 'q', 'human_ref_A': 'a', 'human_ref_B': 'b', 'labels': 1, 'score_A': 1, 'score_B': 3}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('webgpt', 'preference', {'question': {'full_text': 'q'}, 'answer_0': 'a', 'answer_1': 'b', 'score_0': 1, 'score_1': -1}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('openhermes', 'sft', {'conversations': [{'from': 'human', 'value': 'q', 'weight': None}, {'from': 'gpt', 'value': 'a', 'weight': None}], 'source': 's', 'custom_instruction': None, 'title': None, 'system_prompt': None, 'idx': None, 'language': None, 'hash': None, 'model': None, 'model_name': None, 'avatarUrl': None, 'topic': None, 'id': None, 'skip_prompt_formatting': None, 'views': None, 'category': None}, ['messages=u:q / a:a'], []),
    ('tulu3', 'sft', {'id': '1', 'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'source': 's'}, ['messages=u:q / a:a'], []),
    ('tulu3-pref', 'preference', {'id': '1', 'source': 's', 'prompt': 'q', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'chosen_rating': 5, 'chosen_model': 'm', 'rejected_rating': 1, 'rejected_model': 'n'}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('rlvr', 'grpo', {'messages': [{'role': 'user', 'content': 'q'}], 'ground_truth': '4', 'dataset': 'gsm8k'}, ['prompt=u:q | ground_truth=4'], []),
    ('dapo', 'grpo', {'data_source': 'm', 'prompt': [{'role': 'user', 'content': 'q'}], 'ability': 'math', 'reward_model': {'ground_truth': '34', 'style': 'rule'}, 'extra_info': {'index': 'i'}}, 'ingest.missing_key', []),
    ('deepscaler', 'grpo', {'problem': 'p', 'answer': '4', 'solution': 'so 4'}, ['prompt=u:p | ground_truth=4'], []),
    ('deepscaler', 'sft', {'problem': 'p', 'answer': '4', 'solution': 'so 4'}, ['messages=u:p / a:so 4'], ['answer']),
    ('s1k', 'sft', {'question': 'q', 'solution': 'a', 'attempt': 'att', 'thinking_trajectories': ['t'], 'cot_type': 'math', 'source_type': 's', 'metadata': 'm', 'cot': None}, ['messages=u:q / a:a'], ['thinking_trajectories']),
    ('medical-o1', 'sft', {'Question': 'q', 'Complex_CoT': 't', 'Response': 'r'}, 'ingest.missing_key', []),
    ('squad', 'sft', {'id': '1', 'title': 't', 'context': 'c', 'question': 'q', 'answers': {'text': ['a'], 'answer_start': [3]}}, ['messages=u:q\nc / a:a'], []),
    ('boolq', 'grpo', {'question': 'q', 'answer': True, 'passage': 'p'}, ['prompt=u:q | ground_truth=true'], ['passage']),
    ('commonsenseqa', 'grpo', {'id': '1', 'question': 'q', 'question_concept': 'c', 'choices': {'label': ['A', 'B'], 'text': ['x', 'y']}, 'answerKey': 'A'}, ['prompt=u:q\nA. x\nB. y | ground_truth=A'], []),
    ('openbookqa', 'grpo', {'id': '1', 'question_stem': 'q', 'choices': {'label': ['A', 'B'], 'text': ['x', 'y']}, 'answerKey': 'A'}, 'ingest.missing_key', []),
    ('mbpp', 'sft', {'task_id': 1, 'text': 'q', 'code': 'a', 'test_list': ['t']}, 'ingest.missing_key', []),
    ('magicoder', 'sft', {'lang': 'py', 'raw_index': 1, 'index': 2, 'seed': 's', 'openai_fingerprint': 'f', 'problem': 'p', 'solution': 's'}, ['messages=u:p / a:s'], []),
    ('smoltalk-think', 'sft', {'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': '<think>\nt\n</think>\na'}], 'source': 's'}, ['messages=u:q / a:a[reasoning_content]'], []),
    ('gpt-oss-ft', 'sft', {'developer': 'd', 'user': 'q', 'analysis': 't', 'final': 'a', 'reasoning_language': 'en', 'messages': [{'role': 'system', 'content': 'd', 'thinking': None}, {'role': 'user', 'content': 'q', 'thinking': None}, {'role': 'assistant', 'content': 'a', 'thinking': 't'}]}, ['messages=s:d / u:q / a:a[reasoning_content]'], []),
    ('wildchat', 'sft', {'conversation_hash': 'h', 'model': 'm', 'timestamp': 't', 'conversation': [{'content': 'q', 'role': 'user', 'language': 'English', 'redacted': False, 'toxic': False}, {'content': 'a', 'role': 'assistant', 'language': 'English', 'redacted': False, 'toxic': False}], 'turn': 1, 'language': 'English', 'toxic': False}, ['messages=u:q / a:a'], []),
    ('lima', 'sft', {'conversations': ['q', 'a'], 'source': 's'}, ['messages=u:q / a:a'], []),
    ('llava', 'sft', {'id': '1', 'image': 'a.jpg', 'conversations': [{'from': 'human', 'value': '<image>\nq'}, {'from': 'gpt', 'value': 'a'}]}, 'ingest.multimodal', []),
    ('prm-label', 'sft', {'prompt': 'q', 'completion': 'a', 'labels': [True, False]}, ['messages=u:q / a:a'], ['labels']),
    ('hh-harmless-kto', 'kto', {'prompt': 'q', 'completion': 'a', 'label': 'true'}, ['prompt=u:q | completion=a:a | label=True'], []),
    ('kto-int', 'kto', {'prompt': 'q', 'completion': 'a', 'label': 1}, ['prompt=u:q | completion=a:a | label=True'], []),
    ('toxic-label', 'sft', {'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'label': 'safe'}, 'ingest.label_not_boolean', []),
    ('hermes-reasoning', 'sft', {'conversations': [{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': '<think>t</think><tool_call>{"name":"f","arguments":{}}</tool_call>'}], 'tools': '[{"name":"f"}]'}, ['messages=u:q / a:<tool_call>{"name":"f","arguments":{}}</tool_call>[reasoning_content]'], []),
    ('apigen-mt', 'sft', {'system': 's', 'conversations': [{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': 'hm'}, {'from': 'function_call', 'value': '{"name":"f","arguments":{}}'}, {'from': 'observation', 'value': '1'}, {'from': 'gpt', 'value': 'a'}], 'tools': '[{"name":"f","description":"d","parameters":{}}]'}, ['messages=s:s / u:q / a:hm[tool_calls] / t:1 / a:a'], []),
    ('bfcl-weights', 'sft', {'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'metadata': {'x': 1}, 'weight': 1}, ['messages=u:q / a:a'], []),
    ('skywork-pref', 'preference', {'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}], 'rejected': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'b'}], 'source': 's'}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('code-feedback', 'sft', {'query': 'q', 'answer': 'a', 'resource': 'r', 'lang': 'py'}, ['messages=u:q / a:a'], []),
    ('metamath', 'sft', {'type': 't', 'query': 'q', 'original_question': 'o', 'response': 'r'}, ['messages=u:q / a:r'], []),
    ('orca-math', 'sft', {'question': 'q', 'answer': 'a long answer'}, ['messages=u:q / a:a long answer'], []),
    ('orca-math', 'grpo', {'question': 'q', 'answer': 'a long answer'}, ['prompt=u:q | ground_truth=a long answer'], []),
    ('truthfulqa', 'sft', {'type': 't', 'category': 'c', 'question': 'q', 'best_answer': 'a', 'correct_answers': ['a', 'b'], 'incorrect_answers': ['x'], 'source': 's'}, 'ingest.missing_key', []),
    ('oasst-tree', 'sft', {'message_tree_id': '1', 'tree_state': 'ready_for_export', 'prompt': {'message_id': '1', 'text': 'q', 'role': 'prompter', 'lang': 'en', 'review_count': 3, 'deleted': False, 'labels': {'spam': {'value': 0.0, 'count': 3}}, 'replies': [{'message_id': '2', 'text': 'b', 'role': 'assistant', 'rank': 1, 'replies': []}, {'message_id': '3', 'text': 'a', 'role': 'assistant', 'rank': 0, 'replies': [{'message_id': '4', 'text': 'thanks', 'role': 'prompter', 'replies': []}]}]}}, ['messages=u:q / a:a'], []),
    ('oasst-tree', 'preference', {'prompt': {'text': 'q', 'role': 'prompter', 'replies': [{'text': 'b', 'role': 'assistant', 'rank': 1}, {'text': 'a', 'role': 'assistant', 'rank': 0}, {'text': 'c', 'role': 'assistant'}]}}, ['prompt=u:q | chosen=a:a | rejected=a:b'], []),
    ('oasst-tree', 'grpo', {'prompt': {'text': 'q', 'role': 'prompter', 'replies': [{'text': 'b', 'role': 'assistant', 'rank': 1}, {'text': 'a', 'role': 'assistant', 'rank': 0}]}}, 'ingest.wrong_kind', []),
    ('oasst-tree-thought', 'sft', {'prompt': {'text': 'q', 'role': 'prompter', 'replies': [{'text': 'a', 'role': 'assistant', 'rationale': 'it is so'}]}}, ['messages=u:q / a:a'], ['prompt.replies[].rationale']),
    ('shp', 'preference', {'post_id': '1', 'history': 'q', 'human_ref_A': 'a', 'human_ref_B': 'b', 'labels': 0, 'score_ratio': 2.0}, ['prompt=u:q | chosen=a:b | rejected=a:a'], []),
    ('webgpt-tie', 'preference', {'question': {'full_text': 'q'}, 'answer_0': 'a', 'answer_1': 'b', 'score_0': 0.0, 'score_1': 0.0}, 'ingest.no_pair', []),
    ('squad', 'grpo', {'id': '1', 'title': 't', 'context': 'c', 'question': 'q', 'answers': {'text': ['a', 'an a', 'a'], 'answer_start': [3, 0, 3]}}, ['prompt=u:q\nc | ground_truth=["a","an a"]'], []),
    ('squad-none', 'grpo', {'id': '1', 'title': 't', 'context': 'c', 'question': 'q', 'answers': {'text': [], 'answer_start': []}}, 'ingest.missing_key', []),
    ('kto-zero', 'kto', {'prompt': 'q', 'completion': 'a', 'label': 0}, ['prompt=u:q | completion=a:a | label=False'], []),
    ('choices-of-objects', 'grpo', {'question': 'q?', 'choices': [{'label': 'A', 'text': 'x'}, {'label': 'B', 'text': 'y'}], 'answerKey': 'B'}, ['prompt=u:q?\nA. x\nB. y | ground_truth=B'], []),
    ('choices-of-one-label', 'grpo', {'question': 'q?', 'choices': [{'label': 'A', 'text': 'x'}, {'label': 'A', 'text': 'y'}], 'answerKey': 'A'}, 'ingest.wrong_type', []),
    ('tool-null', 'sft', {'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'tool_calls': [{'id': 'c', 'function': {'name': 'f'}}]}, {'role': 'tool', 'tool_call_id': 'c', 'content': None}, {'role': 'assistant', 'content': 'a'}]}, ['messages=u:q / a:[tool_calls] / t: / a:a'], []),
    ('oasst-flat', 'sft', {'message_id': '2', 'parent_id': '1', 'user_id': '7', 'text': 'a', 'role': 'assistant', 'rank': 0}, 'ingest.missing_key', []),
]  # fmt: skip


def in_short(row):
    """`messages=u:q / a:b[reasoning_content]`: columns, roles and texts of a row, and which other keys its turns have."""

    def said(turn):
        more = "".join(f"[{key}]" for key in ("tool_calls", "reasoning_content", "train") if turn.get(key) is not None)
        return f"{turn['role'][0]}:{turn['content'] or ''}{more}"

    shown = {name: value for name, value in row.items() if value is not None and name not in ("extra", "tools")}
    return " | ".join(
        f"{name}={' / '.join(map(said, value)) if isinstance(value, list) else value}" for name, value in shown.items()
    )


@pytest.mark.parametrize(("name", "kind", "record", "wanted", "lost"), FORMS)
def test_a_public_form_becomes_the_rows_that_its_owner_means(name, kind, record, wanted, lost):
    account = KeyAccount()
    try:
        found = list(map(in_short, rows_of(record, kind, account=account)))
    except Unreadable as error:
        found = error.check
    assert (found, sorted(account.lost)) == (wanted, lost)


def tree(*replies):
    return {"prompt": {"role": "prompter", "text": "q", "replies": list(replies)}}


def reply(text, rank=None, *replies, role="assistant", **more):
    return {"role": role, "text": text, "rank": rank, "replies": list(replies)} | more


def test_every_message_of_a_tree_is_in_a_row_or_counted():
    account = KeyAccount()
    record = tree(
        reply("a", 0, reply("then", None, role="prompter")), reply("b", 1), reply("c", 2, reply("no", role="prompter"))
    )
    assert len(rows_of(record, "sft", account=account)) == 1
    assert account.unused == {"replies in no row": 4}
    account = KeyAccount()
    assert len(rows_of(record, "preference", Options(pairs="all"), account)) == 3
    assert account.unused == {"replies in no row": 2}


def test_ranks_that_differ_by_the_margin_alone_are_no_pair():
    record = tree(reply("a", 0), reply("b", 1), reply("c", 2))
    assert [in_short(row) for row in rows_of(record, "preference", Options(pairs="all", margin=1.0))] == [
        "prompt=u:q | chosen=a:a | rejected=a:c"
    ]


def test_a_deleted_reply_and_all_below_it_are_in_no_row():
    account = KeyAccount()
    record = tree(reply("a", 0, reply("b", role="prompter", replies=5), deleted=True), reply("c", 1))
    assert [in_short(row) for row in rows_of(record, "sft", account=account)] == ["messages=u:q / a:c"]
    assert account.unused == {"prompt.replies[].deleted": 1, "replies in no row": 2}
