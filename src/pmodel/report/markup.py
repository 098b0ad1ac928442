"""HTML that is safe by construction: every text is escaped, because only ``element`` makes markup."""

from __future__ import annotations

import hashlib
import html
from base64 import b64encode
from typing import final

__all__ = ["Markup", "document", "element", "image_uri", "joined"]

TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\N{REPLACEMENT CHARACTER}")
"""Signs that turn the direction of all text after them: no name needs them, and in one they could disguise what follows."""
VOID = frozenset({"br", "circle", "img", "line", "meta", "path", "polyline", "rect"})


@final
class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """An element of HTML or SVG. Children and attributes are escaped unless they are ``Markup``; None is left out.

    An attribute's trailing underscore is dropped (``class_``), and other underscores become hyphens (``data_label``).
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Markup(f"<{tag}{pairs}>" if tag in ("br", "img", "meta") else f"<{tag}{pairs}/>")
    return Markup(f"<{tag}{pairs}>{joined(*children)}</{tag}>")


def joined(*children: object) -> Markup:
    """Children one after another, each escaped unless it is ``Markup``."""
    texts = (c if isinstance(c, Markup) else _escaped(c) for c in children if c is not None)
    return Markup("".join(texts))


def _escaped(text: object) -> str:
    return html.escape(str(text).translate(TURNING))


def image_uri(png: bytes) -> str:
    """A PNG as a data address: the page needs no other file."""
    return f"data:image/png;base64,{b64encode(png).decode()}"


def document(title: str, style: str, script: str, *body: object) -> str:
    """A whole page that loads nothing and runs one script: a policy in its head names style and script by their hashes.

    Args:
        title: Of the page.
        style: The style sheet.
        script: What makes it comfortable; without it the page is whole.
        *body: What stands on the page.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    content = element("body", element("main", *body), "\n", element("script", Markup(script)))
    return f"<!doctype html>\n{element('html', head, chr(10), content, lang='en')}\n"


def _policy(style: str, script: str) -> str:
    parts = ("default-src 'none'", "img-src data:", f"style-src {_hashed(style)}", f"script-src {_hashed(script)}")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _hashed(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
