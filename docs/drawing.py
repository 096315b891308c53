"""Draw the README's picture of a cascade as SVG: input → small model → confident? → large model.

The drawing has a background and follows the reader's colour scheme, so it is readable on light and
dark pages. `python docs/readme_numbers.py` writes it to .github/cascade.svg, with the figures of
the README's cascade.
"""

PARTS = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 250" width="740" role="img">
<title>A cascade: {small} answers {first} of the test images, those on which it is confident. \
{large} answers the others.</title>
<style>
  .page {{ fill: #ffffff; stroke: #d0d7de; }} \
text {{ fill: #1f2328; font: 17px Helvetica, Arial, sans-serif; }}
  .box {{ fill: #ddf4ff; stroke: #0550ae; stroke-width: 2; }}
  .ask {{ fill: #fff8c5; stroke: #7d4e00; stroke-width: 2; }}
  .way {{ fill: none; stroke: #57606a; stroke-width: 2.5; }} .tip {{ fill: #57606a; }}
  .small {{ font-size: 14px; }} .bold {{ font-weight: bold; }} text {{ text-anchor: middle; }}
  @media (prefers-color-scheme: dark) {{
    .page {{ fill: #0d1117; stroke: #3d444d; }} text {{ fill: #e6edf3; }}
    .box {{ fill: #0c2d6b; stroke: #79c0ff; }} .ask {{ fill: #4b2900; stroke: #f2cc60; }}
    .way {{ stroke: #a8b0b8; }} .tip {{ fill: #a8b0b8; }}
  }}
</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" \
markerHeight="7" orient="auto">
<path class="tip" d="M0 0 L10 5 L0 10 z"/></marker></defs>
<rect class="page" x="1" y="1" width="738" height="248" rx="12"/>
<text x="50" y="91">input</text>
<path class="way" d="M78 86 H112" marker-end="url(#tip)"/>
<rect class="box" x="116" y="46" width="164" height="80" rx="8"/>
<text class="bold" x="198" y="76">small model</text>
<text class="small" x="198" y="96">{small}</text>\
<text class="small" x="198" y="115">{small_cost} MACs</text>
<path class="way" d="M280 86 H308" marker-end="url(#tip)"/>
<path class="ask" d="M312 86 L391 38 L470 86 L391 134 z"/>
<text class="bold" x="391" y="84">confident?</text>\
<text class="small" x="391" y="102">≥ {threshold}</text>
<path class="way" d="M470 86 H546" marker-end="url(#tip)"/><text x="504" y="76">no</text>
<rect class="box" x="550" y="46" width="176" height="80" rx="8"/>
<text class="bold" x="638" y="76">large model</text>
<text class="small" x="638" y="96">{large}</text>\
<text class="small" x="638" y="115">{large_cost} MACs</text>
<path class="way" d="M391 134 V182" marker-end="url(#tip)"/><text x="416" y="162">yes</text>
<path class="way" d="M638 126 V182" marker-end="url(#tip)"/>
<text class="bold" x="391" y="206">it answers</text>
<text class="small" x="391" y="230">{first} of the test images</text>
<text class="bold" x="638" y="206">it answers</text>\
<text class="small" x="638" y="230">{later} of them</text>
<text class="bold" x="150" y="206">{cost} MACs</text>\
<text class="small" x="150" y="230">on average</text>
</svg>
"""
