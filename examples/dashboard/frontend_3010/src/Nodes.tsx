import { Empty } from "./Panel";

export interface NodeList {
  message: string;
  nodes: {
    name: string;
    state: string;
    cpus: number;
    cpus_used: number;
    memory_mb: number;
    memory_used_mb: number;
  }[];
}

const tone = (state: string) => (state === "idle" ? "good" : /down|drain|fail/.test(state) ? "bad" : "busy");

export function Nodes({ list: { nodes } }: { list: NodeList }) {
  if (nodes.length === 0) return <Empty title="No nodes">Slurm knows of none.</Empty>;
  return (
    <ul className="nodes" tabIndex={0} aria-label="Nodes">
      {nodes.map((node) => (
        <li key={node.name}>
          <div className="split"><h3>{node.name}</h3><span className={`state ${tone(node.state)}`}>{node.state}</span></div>
          <Share name="Cores" used={node.cpus_used} all={node.cpus} text={`${node.cpus_used} of ${node.cpus}`} />
          <Share
            name="Memory" used={node.memory_used_mb} all={node.memory_mb}
            text={`${(node.memory_used_mb / 1024).toFixed(1)} of ${(node.memory_mb / 1024).toFixed(0)} GB`}
          />
        </li>
      ))}
    </ul>
  );
}

function Share({ name, used, all, text }: { name: string; used: number; all: number; text: string }) {
  return (
    <div className="share note">
      <span>{name}</span>
      <div className="meter"><i style={{ width: `${all > 0 ? (used / all) * 100 : 0}%` }} /></div>
      <span>{text}</span>
    </div>
  );
}
