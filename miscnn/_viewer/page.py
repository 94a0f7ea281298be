"""Pages and pictures of packed volumes."""

from __future__ import annotations

import io
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from miscnn._viewer.encoding import encoded
from miscnn._viewer.packing import Packed

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>
$style
body { margin: 0; padding: 12px; background: var(--page); color: var(--ink); }
body, button { font: 14px/1.4 system-ui, sans-serif; }
header { display: flex; justify-content: space-between; gap: 12px; max-width: 720px; }
h1 { font: 600 16px/1.3 system-ui, sans-serif; margin: 0 0 8px; overflow-wrap: anywhere; }
#theme { color: var(--ink); background: var(--raised); border: 1px solid var(--line);
  border-radius: 5px; padding: 2px 10px; align-self: flex-start; cursor: pointer; }
</style>
</head>
<body>
<header><h1>$title</h1><button type="button" id="theme"></button></header>
<div id="viewer"></div>
<script type="application/json" id="volume">$volume</script>
<script>
$script
miscnnViewer(document.getElementById("viewer"), document.getElementById("volume").textContent);
miscnnTheme(document.getElementById("theme"));
</script>
</body>
</html>
""")

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""What a page of ours may do: nothing is loaded from anywhere."""


def resource(name: str) -> str:
    """Return the text of a file of this package, such as ``viewer.js``."""
    return files("miscnn._viewer").joinpath(name).read_text(encoding="utf-8")


def viewer_script() -> str:
    """Return the program of the viewer."""
    return resource("volume.js") + resource("viewer.js")


def viewer_page(packed: Packed, title: str) -> str:
    """Return a page, complete in itself, that shows one volume."""
    return _PAGE.substitute(
        policy=escape(POLICY),
        title=escape(title),
        style=resource("viewer.css"),
        script=viewer_script(),
        volume=encoded(packed, title),
    )


def thumbnail(packed: Packed, size: int = 160) -> bytes:
    """Return the middle slice of the first channel as a PNG whose longer edge is ``size``."""
    low, high = packed.windows[0]
    middle = (packed.shape[0] - 1) // 2
    values = packed.values()[middle]
    grey: NDArray[np.float32] = (values - low) * (255.0 / (high - low if high > low else 1.0))
    _, height, width = (n * s for n, s in zip(packed.shape, packed.spacing, strict=True))
    scale = size / max(height, width)
    picture = Image.fromarray(np.rint(grey.clip(0, 255)).astype(np.uint8))
    picture = picture.resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BILINEAR
    )
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
