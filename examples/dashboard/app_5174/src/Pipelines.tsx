import { Empty } from "./Panel";

export interface Pipeline {
  id: string;
  title: string;
  steps: string[];
}

interface PipelinesProps {
  pipelines: Pipeline[];
  start: (id: string) => Promise<void>;
}

export function Pipelines({ pipelines, start }: PipelinesProps) {
  if (pipelines.length === 0) return <Empty title="No pipelines">None is set up on this head.</Empty>;
  return (
    <ul className="rows">
      {pipelines.map(({ id, title, steps }) => (
        <li key={id}>
          <div className="split">
            <h3>{title}</h3>
            <button type="button" className="quiet" aria-label={`Run ${title}`} onClick={() => void start(id)}>Run</button>
          </div>
          <ol className="course">
            {steps.map((step) => <li key={step}>{step}</li>)}
          </ol>
        </li>
      ))}
    </ul>
  );
}
