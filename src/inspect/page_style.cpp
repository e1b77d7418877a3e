#include "inspect/page_parts.h"

namespace headway::inline v1::inspect {

const char* const kPageStyle = R"css(
:root { color-scheme: light; --ink: #17202c; --soft: #5a6675; --line: #d9dfe6; --pick: #c2410c; --deep: #08306b; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 18px 26px 40px; background: #fff; color: var(--ink);
       font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 22px; margin: 0; }
h2 { font-size: 15px; margin: 0 0 8px; }
header p { margin: 2px 0 12px; color: var(--soft); }
#subtitle:empty { display: none; }
nav { display: flex; flex-wrap: wrap; gap: 10px 22px; align-items: center; margin: 8px 0 10px; }
nav button { font: inherit; padding: 5px 14px; border: 1px solid var(--line); background: #fff; color: var(--ink);
             cursor: pointer; margin-left: -1px; }
nav button:first-child { border-radius: 6px 0 0 6px; margin-left: 0; }
nav button:last-child { border-radius: 0 6px 6px 0; }
nav button[aria-pressed="true"] { background: var(--deep); border-color: var(--deep); color: #fff; }
select { font: inherit; padding: 4px 8px; max-width: 44ch; }
.pair { border-left: 3px solid var(--deep); padding: 2px 0 2px 12px; margin: 6px 0 14px; }
.pair div + div { font-weight: 600; }
main { display: flex; flex-wrap: wrap; gap: 26px; align-items: flex-start; }
#overview { flex: 0 0 auto; max-width: 100%; overflow-x: auto; }
#overview table { border-collapse: collapse; }
#overview th { font-weight: 500; color: var(--soft); font-size: 13px; padding: 0 5px 3px 0; text-align: center; }
#overview td { padding: 3px; }
#overview button { display: block; padding: 3px; background: #fff; border: 2px solid var(--line); border-radius: 5px;
                   cursor: pointer; }
#overview button:hover { border-color: #8fa3b8; }
#overview button[aria-pressed="true"] { border-color: var(--pick); }
#overview canvas { display: block; margin: 0 auto; outline: 1px solid #eef1f5; image-rendering: pixelated; }
#overview small { min-width: 84px; }
#overview td { vertical-align: bottom; }
#overview small { display: block; color: var(--soft); font-size: 11px; padding-top: 2px; text-align: center; }
#large { flex: 1 1 520px; min-width: 0; }
#scroll { overflow: auto; max-height: 900px; max-width: 100%; }
#map { display: block; cursor: crosshair; }
#note { color: var(--soft); font-size: 13px; margin: 6px 0; max-width: 78ch; }
#value { min-height: 24px; font-weight: 600; }
#value span { color: var(--soft); font-weight: 400; }
.line { margin: 10px 0; }
.line > b { display: block; font-size: 12px; font-weight: 500; color: var(--soft); }
.tokens { display: flex; flex-wrap: wrap; gap: 4px; }
.tokens span { border: 1px solid var(--line); border-radius: 4px; padding: 1px 6px; cursor: default; white-space: pre; }
.tokens span.on { outline: 2px solid var(--pick); outline-offset: -1px; }
.scale { display: flex; align-items: center; gap: 8px; color: var(--soft); font-size: 12px; }
#bar { width: 140px; height: 11px; border: 1px solid var(--line); }
kbd { border: 1px solid var(--line); border-radius: 3px; padding: 0 4px; font: inherit; }
)css";

const char* const kPageBody = R"html(
<noscript><p>A script in this page draws its maps; nothing is fetched. Please allow it to run.</p></noscript>
<nav>
  <label id="pairs">Sentence <select id="sentence"></select></label>
  <div role="group" aria-label="Attention" id="kinds"></div>
  <div class="scale">weight 0 <canvas id="bar" width="140" height="1"></canvas> 1</div>
</nav>
<div class="pair"><div id="source"></div><div id="translation"></div></div>
<main>
  <section id="overview"><h2>All heads</h2><table></table></section>
  <section id="large">
    <h2 id="name"></h2>
    <div id="value" aria-live="polite"></div>
    <div class="line"><b id="queries-name"></b><div class="tokens" id="queries"></div></div>
    <div class="line"><b id="keys-name"></b><div class="tokens" id="keys"></div></div>
    <p id="note"></p>
    <div id="scroll"><canvas id="map" role="img"></canvas></div>
  </section>
</main>
)html";

}  // namespace headway::inline v1::inspect
