import { type Node, Nodes, usable } from "./Nodes";
import { Empty, Panel } from "./Panel";
import { RequestForm } from "./RequestForm";
import { Shell } from "./Shell";
import { useLive, useReady } from "./live";
import { type Note, readRequest } from "./request";

export function App() {
  const nodes = useLive<{ message: string; nodes: Node[] }>("/nodes", 10);
  const notes = useLive<{ notes: Note[] }>("/notes", 15);
  useReady(nodes.data !== null && notes.data !== null);
  const names = nodes.data?.nodes.filter(usable).map(({ name }) => name) ?? [];
  return (
    <Shell
      app="vnc_service_8002"
      title="Remote desktops"
      lede="A full desktop on the machine that holds your data, over VNC. Your request reaches the operators as a note on their dashboard."
    >
      <div className="columns desktops">
        <Panel title="Where a desktop can run" live={nodes} aside={nodes.data?.message && <span>{nodes.data.message}</span>}>
          {({ nodes: all }) => <Nodes nodes={all} />}
        </Panel>
        <div className="columns">
          <section className="panel">
            <header><h2>Request a desktop</h2></header>
            <RequestForm nodes={names} sent={notes.reload} />
          </section>
          <Panel title="Requests" live={notes}>
            {({ notes: all }) => <Requests notes={all} />}
          </Panel>
        </div>
      </div>
    </Shell>
  );
}

function Requests({ notes }: { notes: Note[] }) {
  const requests = notes.map(readRequest).filter((request) => request !== null);
  if (requests.length === 0) return <Empty title="No requests yet">Yours will be the first.</Empty>;
  return (
    <ul className="rows">
      {requests.map(({ id, node, size, hours, written }) => (
        <li key={id}>
          <div className="split"><h3>{node}</h3><span className="state wait">asked</span></div>
          <p className="note">{size}, {hours} h, since {new Date(written).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}</p>
        </li>
      ))}
    </ul>
  );
}
