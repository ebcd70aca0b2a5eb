"""New lines of diffs without context: counted by the heads of hunks, whatever stands in them."""

import pytest

from openbell.core.hunks import parse_hunks

DIFF = rb"""diff --git a/x.py b/x.py
index 1..2 100644
--- a/x.py
+++ b/x.py
@@ -1 +1,2 @@ def f():
-one
+++ b/evil.py
+@@ -1 +1,99 @@
@@ -9,2 +10,0 @@
--- a/gone
-x
@@ -20,0 +19 @@
+last
\ No newline at end of file
diff --git a/gone.py b/gone.py
--- a/gone.py
+++ /dev/null
@@ -1,2 +0,0 @@
-a
-b
diff --git "a/t\tab\303\244 \"q\".py" "b/t\tab\303\244 \"q\".py"
--- /dev/null
+++ "b/t\tab\303\244 \"q\".py"
@@ -0,0 +1,3 @@
+a
+b
+c
diff --git a/with space.py b/with space.py
--- a/with space.pyTAB
+++ b/with space.pyTAB
@@ -3 +3 @@
-x
+y
Binary files a/p.png and b/p.png differ
""".replace(b"TAB", b"\t")


def test_only_heads_count() -> None:
    assert parse_hunks(DIFF) == {
        "x.py": (range(1, 3), range(19, 20)),
        't\tabä "q".py': (range(1, 4),),
        "with space.py": (range(3, 4),),
    }


@pytest.mark.parametrize("text", [b"", b"@@ -1 +1 @@\n", b"+++ b/x\n", b"\xff\n@@ -x +y @@"])
def test_what_is_no_diff_has_no_lines(text: bytes) -> None:
    assert parse_hunks(text) == {}
