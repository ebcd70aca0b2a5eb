"""Values in scripts, held against what the shell itself makes of them."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbell.core.quoting import fill_script

NASTY = "/a b/c'd\"e$HOME`f\\g;*?[h]#i&(j)"
SHOW = "show() { printf '<%s>\\n' \"$@\"; }\n"


def run(script: str) -> str:
    ended = subprocess.run(["bash", "-euc", script], capture_output=True, check=False, timeout=20)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode()


@pytest.mark.parametrize(
    "script",
    [
        "show {out}/x",
        'show "{out}/x"',
        "show '{out}/x'",
        "show '{out}'/x",
        'show "{out}"/x',
        "show $'{out}/x'",
        "show $'\\''{out}/x | sed \"s/^<'/</\"",
        "show xml:{out}/x | sed s/xml://",
        'A={out}; show "$A/x"',
        'show "$(printf %s {out}/x)"',
        'show "$(printf %s "{out}/x")"',
        "show \"$(printf %s '{out}/x')\"",
        'show "$(printf %s "$(printf %s "{out}")"/x)"',
        'show "${NONE-}{out}/x"',
        '(show "{out}/x")',
        "(show {out}/x)",
        "# don't mind this\nshow {out}/x",
        ": it\\'s; show {out}/x",
        ': "a \\" b"; show {out}/x',
        'case a in a) show {out}/x ;; *) exit 1 ;; esac; : "{out}"',
        "A=a#b; show {out}/x; : ${#A} '#'",
        "A=(1 2); show {out}/x",
        ": $((1 << 2)) $((1<<2)); show '{out}/x'",
        "cat <<EOF\n<{out}/x>\nEOF",
        "cat <<'EOF'\n<{out}/x>\nEOF",
        "cat <<\\EOF\n<{out}/x>\nEOF",
        "cat <<-EOF\n\t<{out}/x>\n\tEOF\n: don\\'t",
        "cat <<'A' - <<B\ndon't\nA\n<{out}/x>\nB",
        "cat > /dev/null <<'EOF'\ndon't\nEOF\nshow {out}/x",
        'cat > /dev/null <<< "don\'t"\nshow {out}/x',
        "if true; then show {out}/x; fi; for i in a; do : $i; done",
        "! show {out}/x | grep -q nothing && show {out}/x",
    ],
)
def test_a_value_is_one_word_wherever_it_stands(script: str) -> None:
    assert run(SHOW + fill_script(script, {}, {"out": NASTY})) == f"<{NASTY}/x>\n"


def test_backticks_take_a_plain_value() -> None:
    assert run(SHOW + fill_script('show "`printf %s {out}/x`"', {}, {"out": "/a b"})) == "</a b/x>\n"


def test_texts_are_script_and_unknown_placeholders_stay() -> None:
    filled = fill_script("{tool} '{tool}' {out} {{out}} ${out} {none}", {"tool": "a -b"}, {"out": "/o p"})
    assert filled == "a -b 'a -b' '/o p' {out} ${out} {none}"


@pytest.mark.parametrize(
    "script", ["'{out}", '"{out}', "$'{out}", "$({out}", "cat <<EOF\n{out}", "`{out}", "){out}", "\\"]
)
def test_a_script_that_is_broken_stays_as_it_is(script: str) -> None:
    assert fill_script(script, {}, {"out": "/o"}) == script.replace("{out}", "/o")


@given(st.text(alphabet="a'\"`$()\\#<\n\tE{} "))
def test_nothing_of_a_script_is_lost(script: str) -> None:
    assert fill_script(script, {}, {"out": "a b"}) == script


@settings(max_examples=25)
@given(st.text(st.characters(min_codepoint=1, codec="utf-8"), min_size=1))
def test_no_value_breaks_out(value: str) -> None:
    script = "printf '%s\\0' {out} \"{out}\" '{out}' \"$(printf %s. {out})\""
    assert run(fill_script(script, {}, {"out": value})) == f"{value}\0" * 3 + f"{value}.\0"
