import { type JobList, Jobs } from "./Jobs";
import { Load } from "./Load";
import { type NodeList, Nodes } from "./Nodes";
import { type Note, Notes } from "./Notes";
import { Panel } from "./Panel";
import { Shell } from "./Shell";
import { type Day, Usage } from "./Usage";
import { useLive, useReady } from "./live";

export function App() {
  const jobs = useLive<JobList>("/jobs", 10);
  const nodes = useLive<NodeList>("/nodes", 10);
  const usage = useLive<{ days: Day[] }>("/metrics/usage", 300);
  const notes = useLive<{ notes: Note[] }>("/notes", 15);
  useReady([jobs, nodes, usage, notes].every(({ data }) => data !== null));
  return (
    <Shell
      app="frontend_3010"
      title="Jobs"
      lede="What the cluster does right now, and what it did this month."
      aside={<Soundings nodes={nodes.data} days={usage.data?.days} />}
    >
      <div className="columns dashboard">
        <div className="columns">
          <Panel title="Queue" live={jobs}>{(list) => <Jobs list={list} />}</Panel>
          <Panel
            title="Usage"
            live={usage}
            aside={<a href={`${import.meta.env.VITE_API_BASE}/reports/usage.png`}>Report as PNG</a>}
          >
            {({ days }) => <Usage days={days} />}
          </Panel>
          <Panel title="Nodes" live={nodes}>{(list) => <Nodes list={list} />}</Panel>
        </div>
        <div className="columns">
          <Load />
          <Panel title="Notes" live={notes} aside={<span>shared by all operators</span>}>
            {({ notes: all }) => <Notes notes={all} added={notes.reload} />}
          </Panel>
        </div>
      </div>
    </Shell>
  );
}

/** The few figures to read first. */
function Soundings({ nodes, days }: { nodes: NodeList | null; days: Day[] | undefined }) {
  if (!nodes || !days) return null;
  const total = (pick: (day: Day) => number) => Math.round(days.reduce((sum, day) => sum + pick(day), 0));
  const cores = (pick: (node: NodeList["nodes"][number]) => number) =>
    nodes.nodes.reduce((sum, node) => sum + pick(node), 0);
  const figures: [string, string][] = [
    ["cores busy", `${cores((node) => node.cpus_used)} of ${cores((node) => node.cpus)}`],
    ["CPU hours", total((day) => day.cpu_hours).toLocaleString()],
    ["GPU hours", total((day) => day.gpu_hours).toLocaleString()],
    [`jobs in ${days.length} days`, total((day) => day.jobs).toLocaleString()],
  ];
  return (
    <dl className="soundings">
      {figures.map(([name, value]) => <div key={name}><dt className="note">{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}
