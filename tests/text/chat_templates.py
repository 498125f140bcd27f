"""Chat templates of the shapes that published models have, and chats to render by them."""

LLAMA = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|head|>system<|tail|>\\n\\n" }}
{%- if tools is not none %}
    {{- "You may call:\\n" }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system }}{{- "<|end|>" }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- "<|head|>ipython<|tail|>\\n\\n" + message.content | tojson + "<|end|>" }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at once") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|head|>assistant<|tail|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}{{- "}<|end|>" }}
    {%- else %}
        {{- '<|head|>' + message.role + '<|tail|>\\n\\n' + message.content | trim + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|tail|>\\n\\n' }}{%- endif %}"""

QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, looking=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.looking and message.role == "user" %}
        {%- set ns.looking = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = message.reasoning_content or '' %}
        {%- if '</think>' in message.content %}
            {%- set reasoning = message.content.split('</think>')[0].rstrip('\\n') %}
        {%- endif %}
        {%- set said = message.content.split('</think>')[-1].lstrip('\\n') %}
        {%- if loop.index0 > ns.last and reasoning %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning + '\\n</think>\\n\\n' + said }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + said }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' ~ (call.function | tojson) ~ '\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n' + message.content }}
        {%- if loop.last or loop.nextitem.role != "tool" %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

MISTRAL = """{%- set said = messages | rejectattr("role", "equalto", "system") | list %}
{%- set first = messages | selectattr("role", "equalto", "system") | map(attribute="content") %}
{{- bos_token }}
{%- for message in said %}
    {%- if message["role"] not in ["user", "assistant"] %}
        {{- raise_exception("Only user and assistant speak, not " + message["role"] + "!") }}
    {%- elif (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("They speak in turn!") }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {{- "[INST] " }}
        {%- if loop.last %}{{- first | join("\\n\\n") | default("", true) }}{%- endif %}
        {{- message["content"] + "[/INST]" }}
    {%- else %}
        {% generation %}{{- " " + message["content"]|trim + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}"""

GEMMA = """{{ bos_token }}
{%- set prefix = "" -%}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start>' + role + '\\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}{{ raise_exception("no such content") }}
    {%- endif -%}
    {{ '<stop>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start>model\\n'}}{%- endif -%}"""

SMOL = """{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}
{%- macro turn(role, text) -%}
{{ "<|im_start|>" ~ role ~ "\\n" ~ text ~ "<|im_end|>\\n" }}
{%- endmacro -%}
{%- set given = messages[0].content if messages[0].role == "system" else "" -%}
{%- set mode = "/think" if enable_thinking and "/no_think" not in given else "/no_think" -%}
{%- set rest = given.replace("/no_think", "").replace("/think", "").rstrip() -%}
{{ turn("system", "Mode: " ~ mode ~ ("\\n" ~ rest if rest else "")) }}
{%- for document in documents or [] -%}
    {{ "- " ~ document.title ~ ": " ~ document.text ~ "\\n" }}
{%- endfor -%}
{%- for message in messages if message.role != "system" -%}
    {%- if message.role == "tool" -%}{%- continue -%}{%- endif -%}
    {{ turn(message.role, message.content | string) }}
    {%- if loop.index > 8 -%}{%- break -%}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ "<|im_start|>assistant\\n" ~ ("" if mode == "/think" else "<think>\\n\\n</think>\\n") }}
{%- endif -%}"""

TEMPLATES = {"llama": LLAMA, "qwen": QWEN, "mistral": MISTRAL, "gemma": GEMMA, "smol": SMOL}

USER = {"role": "user", "content": " Größe & 'quotes' <b>\n"}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes. "}
SYSTEM = {"role": "system", "content": "Be short. /no_think"}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [None, 2.5]}}}
]}  # fmt: skip
CHATS = [
    [USER],
    [SYSTEM, USER, ANSWER, {**USER, "name": None}],
    [USER, {**ANSWER, "reasoning": "so"}, USER, ANSWER],
    [USER, CALL, {"role": "tool", "content": "3"}, {"role": "tool", "content": "4"}, USER],
    [{**SYSTEM, "content": [{"type": "text", "text": "a "}]},
        {"role": "user", "content": [{"type": "text", "text": " b"}, {"type": "image"}]}],
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"a": {"type": "int"}}}}]
DOCUMENTS = [{"title": "Über", "text": "x < y"}]
