"""Tool calls and tool definitions of all known formats, in OpenAI's: `{"type": "function", "function": {...}}`.

    calls_of([{"name": "add", "arguments": "{\\"a\\": 1}"}], "messages[1].tool_calls")
    -> '[{"type":"function","function":{"name":"add","arguments":{"a":1}}}]'

Both are JSON text, as in the tables. Arguments become objects, also where the file has their JSON text.
"""

from stages.rows.types import Fields
from stages.rows.values import ENCODE, Unreadable, has_value, parse_json_text

CONVERSATION_KEYS = ("conversations", "conversation", "messages")
SCHEMA_KEYS = ("input_schema", "inputSchema")


def calls_of(value: object, where: str) -> str | None:
    """Calls as JSON text, or None if there are none. value: a list, one call, or the JSON text of either."""
    if isinstance(value, dict):
        value = [value]
    calls = list_of_objects(value, where)
    return ENCODE([call_of(call, f"{where}[{i}]") for i, call in enumerate(calls)]).decode() if calls else None


def call_of(call: Fields, where: str) -> Fields:
    """One call. Raises Unreadable if it has no name: a template would write an empty one."""
    inner = call.get("function")
    function: Fields = inner if isinstance(inner, dict) else call
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise Unreadable("ingest.missing_key", f"{where}: the function call has no name")
    if function is call:
        call = {"type": "function", "function": {k: v for k, v in call.items() if k not in ("id", "type")}} | (
            {"id": call["id"]} if has_value(call, "id") else {}
        )
        function = call["function"]
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        # text that is not an object is kept: the model wrote it
        parsed = parse_json_text(arguments) if arguments.strip() else {}
        function = function | {"arguments": parsed if isinstance(parsed, dict) else arguments}
    call = {key: value for key, value in call.items() if value is not None} | {"function": function}
    return call if "type" in call else {"type": "function"} | call


def tools_of(record: Fields) -> str | None:
    """The tools of a record as JSON text, from any place where a shape keeps them, or None."""
    holders = [record, record.get("input"), record.get("toolConfig")]
    tools = next((holder["tools"] for holder in holders if isinstance(holder, dict) and holder.get("tools")), None)
    if (
        not tools
        and isinstance(record.get("functions"), list)
        and any(has_value(record, key) for key in CONVERSATION_KEYS)
    ):
        tools = record["functions"]
    definitions = list_of_objects(tools, "tools")
    return ENCODE([tool_definition(tool) for tool in definitions]).decode() if definitions else None


def tool_definition(tool: Fields) -> Fields:
    """One definition; a bare one is wrapped. The input schema of Anthropic, Bedrock and MCP becomes `parameters`."""
    if isinstance(tool.get("toolSpec"), dict):
        tool = tool["toolSpec"]
    if (
        has_value(tool, "function")
        or not has_value(tool, "name")
        or tool.get("type") not in (None, "function", "custom")
    ):
        return tool
    function = {key: value for key, value in tool.items() if key not in ("type", *SCHEMA_KEYS)}
    schema = next((tool[key] for key in SCHEMA_KEYS if isinstance(tool.get(key), dict)), None)
    if schema is not None:
        function["parameters"] = schema["json"] if set(schema) == {"json"} else schema
    return {"type": "function", "function": function}


def list_of_objects(value: object, where: str) -> list[Fields] | None:
    """A list of objects, or None if there is none. value: the list or its JSON text."""
    if isinstance(value, str) and value:
        value = parse_json_text(value, where)
    if not value and value != 0:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list of objects")
    return value
