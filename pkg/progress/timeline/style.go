package timeline

// timelineStyle has the colours of the picture, for light and for dark
// surroundings. Every rule is bound to its class, so that the picture can stand
// in a page.
const timelineStyle = `.tl { --page: #ffffff; --tile: #f4f6f9; --line: #e3e8ef; --text: #17202e; --dim: #5c6a7f;
  --wait: #d5dce6; --wait2: #b3bfce; --resolve: #7488a3; --fetch: #2f7bea; --inflate: #8b5cf6; --apply: #0fa37f; --commit: #f2a20c;
  --retry: #e11d48; --good: #0b7d5f; --good-bg: #dcf5ec; --bad: #c0123c; --bad-bg: #fde7ec; --hover: #eef3fb;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) {
  .tl { --page: #0d1420; --tile: #172131; --line: #243044; --text: #e8eef7; --dim: #93a3b8;
    --wait: #2b384b; --wait2: #43536a; --resolve: #8ba0bb; --fetch: #4c93ff; --inflate: #a98bfa; --apply: #2ecfa0; --commit: #fbbf3c;
    --retry: #ff5c7d; --good: #52e0b5; --good-bg: #10372e; --bad: #ff8aa3; --bad-bg: #42161f; --hover: #152034; }
}
.tl text { fill: var(--text); font-size: 12px; }
.tl .title { font-size: 20px; font-weight: 650; }
.tl .value { font-size: 17px; font-weight: 600; }
.tl .label { font-weight: 600; }
.tl .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 11px; }
.tl .dim { fill: var(--dim); }
.tl .end { text-anchor: end; }
.tl .small { font-size: 8.5px; }
.tl .tick { fill: var(--dim); font-size: 11px; text-anchor: middle; }
.tl .tick.end { text-anchor: end; }
.tl .page { fill: var(--page); }
.tl .tile, .tl .chart { fill: var(--tile); }
.tl .badge.good { fill: var(--good-bg); }
.tl .badge.bad, .tl .alarm { fill: var(--bad-bg); }
.tl .badge-text { text-anchor: middle; font-weight: 600; }
.tl .badge-text.good { fill: var(--good); }
.tl .badge-text.bad, .tl .bad-text, .tl .alarm-text { fill: var(--bad); }
.tl .warn { fill: var(--retry); }
.tl .grid { stroke: var(--line); stroke-width: 1; fill: none; }
.tl .ground { fill: transparent; }
.tl .row:hover .ground { fill: var(--hover); }
.tl .extent { stroke: var(--wait2); stroke-width: 2; fill: none; }
.tl .flow { fill: var(--fetch); fill-opacity: .28; stroke: var(--fetch); stroke-width: 1.2; stroke-linejoin: round; }
.tl .wait-a { fill: var(--wait); } .tl .wait-b { fill: var(--wait2); }
.tl .retry-a { fill: var(--retry); fill-opacity: .18; } .tl .retry-b { fill: var(--retry); }
.tl .wait { fill: url(#tl-wait); }
.tl .retrying { fill: url(#tl-retry); }
.tl .resolve { fill: var(--resolve); }
.tl .fetch { fill: var(--fetch); }
.tl .lead { fill-opacity: .3; }
.tl .inflate { fill: var(--inflate); }
.tl .apply { fill: var(--apply); }
.tl .commit { fill: var(--commit); }
.tl .there { fill: var(--good); }
.tl .mark { fill: var(--retry); stroke: var(--page); stroke-width: 1; }
.tl .ring { fill: var(--page); stroke: var(--retry); stroke-width: 1.6; }
.tl .cross { stroke: var(--bad); stroke-width: 2.4; stroke-linecap: round; fill: none; }
`
