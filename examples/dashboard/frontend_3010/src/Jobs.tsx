import { Empty } from "./Panel";

export interface JobList {
  source: "slurm" | "none";
  message: string;
  jobs: Job[];
}

interface Job {
  id: number;
  label: string;
  name: string;
  user: string;
  state: string;
  reason: string;
  partition: string;
  nodes: string;
  elapsed: string;
  limit: string;
}

const TONES: Record<string, string> = {
  RUNNING: "busy", COMPLETING: "busy", CONFIGURING: "busy", PENDING: "wait", SUSPENDED: "wait", COMPLETED: "good",
};

export function Jobs({ list: { source, message, jobs } }: { list: JobList }) {
  if (source === "none") {
    return <Empty title={message}>Jobs show up here as soon as squeue answers. Everything else on this page is live.</Empty>;
  }
  if (jobs.length === 0) return <Empty title="The queue is empty">Calm water: no job is running or waiting.</Empty>;
  return (
    <div className="scroll" tabIndex={0} role="group" aria-label="Jobs in the queue">
      <table className="jobs">
        <thead>
          <tr><th>Job</th><th>Name</th><th>User</th><th>State</th><th>Partition</th><th>Nodes</th><th>Elapsed</th><th>Limit</th></tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.id}>
              <td>{job.label}</td>
              <td>{job.name}</td>
              <td>{job.user}</td>
              <td>
                <span className={`state ${TONES[job.state] ?? "bad"}`} title={job.reason}>{job.state.toLowerCase()}</span>
              </td>
              <td>{job.partition}</td>
              <td>{job.nodes}</td>
              <td>{job.elapsed}</td>
              <td>{job.limit}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
