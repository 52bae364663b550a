import { scaleLinear } from "d3-scale";
import { area, curveMonotoneX, line } from "d3-shape";
import { Loading } from "./Panel";
import { type Link, type Sample, useLoad } from "./useLoad";
import { useWidth } from "./useWidth";

const HEIGHT = 128;
/** The line starts at the right; until there are so many samples, the left stays blank. */
const FEWEST = 12;
const TONES: Record<Link, string> = { connecting: "wait", live: "good", lost: "bad" };
const WORDS: Record<Link, string> = { connecting: "connecting", live: "live", lost: "link lost, trying again" };

export function Load() {
  const { link, samples } = useLoad();
  const last = samples.at(-1);
  return (
    <section className="panel" aria-labelledby="load" data-link={link}>
      <header><h2 id="load">Load of this head</h2><span className={`state ${TONES[link]}`} role="status">{WORDS[link]}</span></header>
      {last ? (
        <>
          <p className="load"><strong>{last.load1.toFixed(2)}</strong> on {last.cpus} cores</p>
          <Line samples={samples} cpus={last.cpus} />
          <p className="split note">
            <span>Memory {Math.round(last.memory_used * 100)} % in use</span>
            <span>{last.clients} {last.clients === 1 ? "viewer" : "viewers"}</span>
          </p>
        </>
      ) : link === "lost" ? <p className="note">No measurement has come yet.</p> : <Loading />}
    </section>
  );
}

function Line({ samples, cpus }: { samples: Sample[]; cpus: number }) {
  const [box, width] = useWidth<HTMLDivElement>();
  const top = Math.max(cpus * 1.15, ...samples.map(({ load1 }) => load1 * 1.1));
  const span = Math.max(samples.length, FEWEST);
  const x = scaleLinear([0, span - 1], [0, width - 5]);
  const y = scaleLinear([0, top], [HEIGHT - 1, 4]);
  const across = (_: Sample, index: number) => x(index + span - samples.length);
  const fill = area<Sample>().x(across).y0(y(0)).y1(({ load1 }) => y(load1)).curve(curveMonotoneX);
  const edge = line<Sample>().x(across).y(({ load1 }) => y(load1)).curve(curveMonotoneX);
  const last = samples.at(-1)?.load1 ?? 0;
  return (
    <div ref={box}>
      <svg width={width} height={HEIGHT} role="img" aria-label={`Load over the last ${samples.length} samples, now ${last}`}>
        <path d={fill(samples) ?? ""} fill="var(--water)" />
        <path d={`M0 ${y(0)}H${width}`} stroke="var(--line)" />
        <path d={`M0 ${y(cpus)}H${width}`} stroke="var(--muted)" strokeDasharray="2 5" />
        <text x="0" y={y(cpus) + 15} className="tick">all {cpus} cores</text>
        <path d={edge(samples) ?? ""} fill="none" stroke="var(--blue)" strokeWidth="2" />
        <circle cx={x(span - 1)} cy={y(last)} r="4" fill="var(--magenta)" />
      </svg>
    </div>
  );
}
