from __future__ import annotations

import resource
import time

import pytest

from fairlead.errors import InvalidRequest, ModelFileError
from fairlead.service import template_functions
from fairlead.service.template_sandbox import Sandbox

CHARS = 1 << 20


def rendered(source: str, **variables: object) -> str:
    return Sandbox(source).render(variables, CHARS)


# ---- what chat templates use -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{{ m.role }}:{{ m['content'] | trim }};{% endfor %}", "user:Hi;assistant:Ho;user:He;"),
        ("{% for m in messages[1:] %}{{ loop.first }}{{ loop.last }}{% endfor %}", "TrueFalseFalseTrue"),
        ("{% for m in messages %}{{ loop.length }}{{ loop.revindex }}{% endfor %}", "333231"),
        ("{% for m in messages[::-1] if m.role == 'user' %}{{ m.content }}{% endfor %}", "He Hi "),
        ("{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "user"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "3"),
        ("{% macro f(x, y='!') %}{{ x ~ y }}{% endmacro %}{{ f('a') }}{{ f(1, none) }}", "a!1None"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x + 'b' }}{{ '=' * 3 }}{{ '%s-%02d' % ('a', 7) }}", "a1b===a-07"),
        ("{{ messages | map(attribute='role') | list | join(', ') }}", "user, assistant, user"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "2"),
        ("{{ 'a' in 'cat' and 'x' not in [1, 2] }}{{ messages[0] is mapping }}{{ x is defined }}", "TrueTrueFalse"),
        ("{{ 'a</b>c'.split('</b>')[-1] }}{{ 'abc'.startswith('ab') }}{{ 'aXb'.replace('X', '') }}", "cTrueab"),
        ("{{ {'ä': ['<', none, 1.5]} | tojson }}", '{"ä": ["<", null, 1.5]}'),
        ("{{ {'b': 1, 'a': [2]} | tojson(indent=2) }}", '{\n  "b": 1,\n  "a": [\n    2\n  ]\n}'),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{% for k, v in {'b': 2} | items %}{{ k }}{{ v }}{% endfor %}", "b2"),
        ("{% for t in messages | batchless %}{% endfor %}", None),
        ("{{ 'a\nb' | indent(2) }}|{{ 'a\n\nb' | indent(2, true) }}", "a\n  b|  a\n\n  b"),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("{% generation %}a{{ 1 }}{% endgeneration %}", "a1"),
        ("{{ strftime_now('%Y')[:2] }}{{ strftime_now is defined }}", "20True"),
        ("{{ undefined_name }}{{ none }}{{ missing or 'default' }}{{ missing | default('d') }}", "Nonedefaultd"),
        ("{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 10 }}{{ 3 * 4 }}{{ 1 - 2 }}{{ (1 / 2) | round(1) }}", "33102412-10.5"),
    ],
)  # fmt: skip
def test_what_templates_do(source: str, text: str | None) -> None:
    messages = [
        {"role": "user", "content": "Hi "},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "He "},
    ]
    if text is None:
        with pytest.raises(ModelFileError, match="No filter named"):
            rendered(source, messages=messages)
    else:
        assert rendered(source, messages=messages) == text


def test_a_template_refuses_in_its_own_words() -> None:
    with pytest.raises(InvalidRequest, match="roles must alternate") as caught:
        rendered("{{ raise_exception('roles must alternate') }}")
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    ["{% for %}", "{{ a", "{% unknown %}", "{{ x | nothing }}", "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
     "{% if 1 %}" * 5000 + "{% endif %}" * 5000, "x" * 300_000, "{% for x in y recursive %}{% endfor %}",
     "{{ " + "-" * 20_000 + "1 }}", "{{ a" + ".b" * 20_000 + " }}"],
)  # fmt: skip
def test_what_is_no_template_is_refused(source: str) -> None:
    with pytest.raises(ModelFileError):
        rendered(source, a="a")


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ messages.clear() }}",
     "{{ messages[0].update(a=1) }}",
     "{{ messages[0].pop('a') }}",
     "{{ '{0.__class__}'.format(1) }}", "{{ '{a}'.format_map({'a': 1}) }}",
     "{{ ''['__class__']['__base__'] }}", "{{ (1).to_bytes(10) }}", "{{ 'a'.encode('utf-8') }}", "{{ 'a'.center(9) }}",
     "{{ lipsum() }}", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{{ namespace.__init__ }}",
     "{{ raise_exception.__globals__ }}", "{{ self.__init__ }}", "{{ messages | attr('append') }}", "{{ range }}",
     "{{ joiner() }}", "{{ cycler(1) }}", "{{ messages | random }}", "{{ strftime_now('%999999Y') }}", "{{ {}() }}",
     "{{ messages | map('attr', '__class__') | list }}", "{{ namespace() }}", "{{ [1] | map('upper') }}"],
)  # fmt: skip
def test_what_is_not_offered(source: str) -> None:
    messages: list[object] = [{"a": "b"}]
    try:
        text = rendered(source, messages=messages)
    except ModelFileError:
        text = ""
    assert text == ""
    assert messages == [{"a": "b"}]


# ---- limits ------------------------------------------------------------------------------------------------

_DOUBLE = "{% set ns = namespace(x='ab', l=[1], n=1) %}{% for i in range(100) %}"
_NEST = "{% set ns = namespace(x='ab', y='ab') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
HOSTILE = {
    "endless output": "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "endless silence": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "endless silence in a macro": "{% macro f() %}{% for i in range(99999) %}{% for j in range(99999) %}x"
    "{% endfor %}{% endfor %}{% endmacro %}{{ f() }}",
    "endless block": "{% set x %}{% for i in range(99999) %}{% for j in range(99999) %}" + "y" * 5000
    + "{% endfor %}{% endfor %}{% endset %}",
    "a range too long": "{% for i in range(1000000000) %}{% endfor %}",
    "times": "{{ 'a' * 1000000000 }}",
    "times from the left": "{{ 1000000000 * 'a' }}",
    "list times": "{{ ([1] * 1000000000) | length }}",
    "tuple times": "{{ ((1, 2) * 1000000000) | length }}",
    "power": "{{ 10 ** 10 ** 10 }}",
    "power of powers": _DOUBLE + "{% set ns.n = (ns.n + 9) ** 64 %}{% endfor %}",
    "square": _DOUBLE + "{% set ns.n = (ns.n + 9) * (ns.n + 9) %}{% endfor %}",
    "doubled by +": _DOUBLE + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubled by ~": _DOUBLE + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "doubled by %": _DOUBLE + "{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
    "doubled by format": _DOUBLE + "{% set ns.x = '%s%s' | format(ns.x, ns.x) %}{% endfor %}",
    "doubled by join": _DOUBLE + "{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
    "doubled by join method": _DOUBLE + "{% set ns.x = ns.x.join([ns.x, ns.x]) %}{% endfor %}",
    "doubled by replace": _DOUBLE + "{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
    "doubled by filter replace": _DOUBLE + "{% set ns.x = ns.x | replace('', ns.x) %}{% endfor %}",
    "doubled by a block": _DOUBLE + "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
    "doubled by a macro":
    "{% macro f(x) %}{{ x }}{{ x }}{% endmacro %}" + _DOUBLE + "{% set ns.x = f(ns.x) %}{% endfor %}",
    "doubled by JSON": _DOUBLE + "{% set ns.x = ns.x | tojson | tojson %}{% endfor %}",
    "doubled list": _DOUBLE + "{% set ns.l = ns.l + ns.l %}{% endfor %}",
    "doubled dict": _DOUBLE + "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
    "wide": "{{ '%1000000000d' % 1 }}",
    "wide by a star": "{{ '%*d' % (1000000000, 1) }}",
    "wide by indent": "{{ 'a\nb' | indent(1000000000) }}",
    "wide by indenting much": "{{ ('\n' * 100000) | indent(100000, true, true) }}",
    "wide by JSON": "{{ [[1] * 1000] | tojson(indent=100000) }}",
    "many places": "{{ 1.5 | round(1000000000) }}{{ ('%s' * 100000) % ('a' * 100000) }}",
    "nested lists as text": _NEST + "{% endfor %}{{ ns.x }}",
    "nested lists as JSON": _NEST + "{% endfor %}{{ ns.x | tojson }}",
    "nested lists compared": _NEST + "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "nested tuples as keys": _NEST.replace("[ns.x, ns.x]", "(ns.x, ns.x)") + "{% endfor %}{{ {ns.x: 1} }}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "branching recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "caller recursion": "{% macro f() %}{{ caller() }}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}"
    "{% call f() %}x{% endcall %}",
    "loop.cycle": "{% for i in range(99999) %}{% for j in range(99999) %}{% if loop.cycle(1, 0) %}{% endif %}"
    "{% endfor %}{% endfor %}",
    "long JSON": "{{ (['\x01'] * 500000) | tojson }}",
    "many filters": "{% for i in range(99999) %}{{ range(99999) | list | sort | reverse | list | length }}{% endfor %}",
    "namespace in itself": "{% set ns = namespace() %}{% set ns.a = ns %}{{ [ns] * 100000 }}" + "{{ [ns] | tojson }}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_end_soon_and_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_functions, "CPU_SECONDS", 0.2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.thread_time()
    with pytest.raises(ModelFileError):
        rendered(HOSTILE[name])
    assert time.thread_time() - start < 0.2 + 1.5  # one operation on the largest values that are allowed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_the_limits_leave_room_for_long_chats() -> None:
    source = (
        "{% set ns = namespace(kept=[]) %}{% for m in messages %}{% set ns.kept = ns.kept + [m] %}{% endfor %}"
        "{% for m in ns.kept %}{{ '<|' ~ m.role ~ '|>' + m.content | trim + '\n' }}{% endfor %}"
    )
    messages = [{"role": "user", "content": "word " * 100} for _ in range(400)]
    start = time.thread_time()
    assert len(rendered(source, messages=messages)) == 400 * (len("<|user|>") + 499 + 1)
    assert time.thread_time() - start < 1
