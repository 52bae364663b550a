export interface Run {
  id: number;
  pipeline: string;
  title: string;
  began: number;
  progress: number;
  step: string;
  state: "queued" | "running" | "done";
}

const TONE = { queued: "wait", running: "busy", done: "good" };
const clock = (seconds: number) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** How much of one step is done, when the run's progress is spread evenly over its steps. */
const part = (run: Run, index: number, count: number) =>
  Math.min(1, Math.max(0, run.progress * count - index));

export function RunRow({ run, steps }: { run: Run; steps: string[] }) {
  const percent = Math.round(run.progress * 100);
  return (
    <li className="run" data-state={run.state}>
      <div className="split">
        <h3>{run.title} <span className="note">#{run.id}, {clock(run.began)}</span></h3>
        <span className={`state ${TONE[run.state]}`}>{run.state}</span>
      </div>
      <div className="legs" role="progressbar" aria-label={`${run.title} #${run.id}`} aria-valuenow={percent}>
        {steps.map((step, index) => (
          <div className="meter" key={step}><i style={{ width: `${part(run, index, steps.length) * 100}%` }} /></div>
        ))}
      </div>
      <p className="note">{run.state === "done" ? "All steps finished" : `${run.step}, ${percent} %`}</p>
    </li>
  );
}
