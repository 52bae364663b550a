"""The one page that the portal itself shows, in the looks of the site: a sign-in that did not work."""

import base64
import hashlib

from markupsafe import escape

# The colours and type of the site's theme; nothing is loaded from anywhere.
STYLE = """
  :root {
    color-scheme: light dark;
    --ground: #eef3f6; --panel: #ffffff; --ink: #12263a; --muted: #4f6275; --line: #d5dfe6;
    --blue: #145f94; --scale: #12263a; --magenta: #a3195b; --hover: #f4f9fc;
    --contours: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 840 210' fill='none' stroke='%23000'%3E%3Cpath d='M0 70C120 70 150 20 270 34S450 118 560 88 720 70 840 70M0 100C120 100 160 58 270 66S440 138 560 116 720 100 840 100M0 130C130 130 170 98 280 102S430 158 560 144 720 130 840 130M0 162C130 162 180 140 290 142S430 180 560 172 720 162 840 162M0 194C130 194 180 182 300 183S430 203 560 200 720 194 840 194'/%3E%3C/svg%3E");
  }
  @media (prefers-color-scheme: dark) {
    :root {
      --ground: #0a1520; --panel: #101f2d; --ink: #e4edf4; --muted: #97abbc; --line: #22374a;
      --blue: #74bdf0; --scale: #58738c; --magenta: #f583b6; --hover: #14273a;
    }
  }
  * { box-sizing: border-box; margin: 0; }
  html { background: var(--ground); color: var(--ink); font: 15px/1.5 "Inter", -apple-system, "Segoe UI", Roboto, Cantarell, "Noto Sans", "DejaVu Sans Condensed", sans-serif; }
  body { position: relative; z-index: 0; display: grid; place-items: start center; min-height: 100vh; padding: 12vh 20px 72px; }
  body::after { content: ""; position: absolute; inset: auto 0 0; z-index: -1; height: 210px; background: color-mix(in srgb, var(--blue) 26%, var(--ground)); mask: var(--contours) bottom left / 840px 210px repeat-x; }
  main { width: min(30rem, 100%); background: var(--panel); border: 1px solid var(--line); border-radius: 4px; overflow: hidden; }
  main::before { content: ""; display: block; height: 6px; border-bottom: 1px solid var(--scale); background: repeating-linear-gradient(90deg, var(--scale) 0 36px, transparent 36px 72px); }
  section { padding: 28px 32px 32px; }
  .brand { display: flex; align-items: center; gap: 10px; margin-bottom: 22px; color: var(--muted); font: 16px/1.2 "Iowan Old Style", "Palatino Linotype", Palatino, "Noto Serif", "DejaVu Serif Condensed", Georgia, serif; }
  h1 { font: 400 28px/1.2 "Iowan Old Style", "Palatino Linotype", Palatino, "Noto Serif", "DejaVu Serif Condensed", Georgia, serif; }
  p { margin-top: 6px; color: var(--muted); text-wrap: pretty; }
  a { color: var(--blue); }
  .sign-in { display: inline-block; margin-top: 22px; padding: 9px 16px; border: 1px solid var(--line); border-radius: 4px; text-decoration: none; }
  .sign-in:hover { border-color: var(--blue); background: var(--hover); }
  .more { margin-top: 16px; font-size: 13px; }
  :focus-visible { outline: 2px solid var(--magenta); outline-offset: 2px; }
"""
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 26 26'%3E%3Ccircle cx='13' cy='13' r='12' fill='%23145f94'/%3E%3Cpath d='M13 1v24' stroke='%23fff' stroke-width='3'/%3E%3C/svg%3E">
<title>Not signed in · Meridian HPC</title>
<style>{style}</style>
</head>
<body>
<main>
<section>
<div class="brand">
<svg width="22" height="22" viewBox="0 0 26 26" fill="none" stroke="currentColor" stroke-width="1.3" aria-hidden="true"><circle cx="13" cy="13" r="11.5"/><path d="M1.5 13h23M3.4 7.4h19.2M3.4 18.6h19.2" opacity="0.55"/><ellipse cx="13" cy="13" rx="5.5" ry="11.5" opacity="0.55"/><path d="M13 0v26" stroke="var(--magenta)" stroke-width="2"/></svg>
Meridian HPC
</div>
<h1>You are not signed in</h1>
<p>{message}</p>
<a class="sign-in" href="/auth/saml/login">Sign in again</a>
<p class="more"><a href="/">Go to the portal</a></p>
</section>
</main>
</body>
</html>
"""
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{_DIGEST}'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


def not_signed_in(message):
    """Return the page that says in one sentence why nobody is signed in."""
    return PAGE.format(style=STYLE, message=escape(message))
