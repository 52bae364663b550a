import { useState } from "react";
import { Empty, Panel } from "./Panel";
import { type Pipeline, Pipelines } from "./Pipelines";
import { type Run, RunRow } from "./Runs";
import { Shell } from "./Shell";
import { reason, send, useLive, useReady } from "./live";

export function App() {
  const pipelines = useLive<{ pipelines: Pipeline[] }>("/pipelines", 300);
  const runs = useLive<{ runs: Run[] }>("/runs", 1.5);
  const [error, setError] = useState("");
  useReady(pipelines.data !== null && runs.data !== null);

  async function start(id: string) {
    try {
      await send(`/pipelines/${encodeURIComponent(id)}/run`);
      setError("");
      runs.reload();
    } catch (caught) {
      setError(reason(caught));
    }
  }

  const known = pipelines.data?.pipelines ?? [];
  return (
    <Shell
      app="app_5174"
      title="Automation"
      lede="Simulation pipelines that run from geometry to report without anyone at the keyboard."
    >
      {error && <p className="failed" role="alert">{error}</p>}
      <div className="columns automation">
        <Panel title="Pipelines" live={pipelines}>
          {({ pipelines: all }) => <Pipelines pipelines={all} start={start} />}
        </Panel>
        <Panel title="Runs" live={runs} aside={<span>newest first</span>}>
          {({ runs: all }) =>
            all.length === 0 ? (
              <Empty title="Nothing has run yet">Start a pipeline and watch it here.</Empty>
            ) : (
              <ul className="rows">
                {all.map((run) => (
                  <RunRow key={run.id} run={run} steps={known.find(({ id }) => id === run.pipeline)?.steps ?? []} />
                ))}
              </ul>
            )
          }
        </Panel>
      </div>
    </Shell>
  );
}
