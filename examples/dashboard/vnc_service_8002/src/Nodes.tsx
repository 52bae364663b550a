import { Empty } from "./Panel";

export interface Node {
  name: string;
  state: string;
  cpus: number;
  cpus_used: number;
  memory_mb: number;
  memory_used_mb: number;
}

export const usable = ({ state }: Node) => !/down|drain|fail/.test(state);
const tone = (node: Node) => (usable(node) ? (node.state === "idle" ? "good" : "busy") : "bad");

export function Nodes({ nodes }: { nodes: Node[] }) {
  if (nodes.length === 0) return <Empty title="No machines">The head knows of none at the moment.</Empty>;
  return (
    <ul className="rows screens">
      {nodes.map((node) => (
        <li key={node.name}>
          <svg width="92" height="66" viewBox="0 0 92 66" fill="none" stroke="currentColor" strokeWidth="1.4" aria-hidden="true">
            <rect x="1" y="1" width="90" height="52" rx="2" fill="var(--water)" />
            <path d="M30 65h32M46 53v12M8 44h34" />
            <path d="M12 8v28M12 36h60" opacity="0.4" />
            <path d="M14 32l14-9 12 5 14-14 16 6" stroke="var(--magenta)" />
          </svg>
          <div>
            <div className="split"><h3>{node.name}</h3><span className={`state ${tone(node)}`}>{node.state}</span></div>
            <Gauge label="Cores" used={node.cpus_used} all={node.cpus} unit="" />
            <Gauge label="Memory" used={node.memory_used_mb / 1024} all={node.memory_mb / 1024} unit=" GB" />
          </div>
        </li>
      ))}
    </ul>
  );
}

function Gauge({ label, used, all, unit }: { label: string; used: number; all: number; unit: string }) {
  return (
    <div className="gauge">
      <span className="note">{label}</span>
      <div className="meter"><i style={{ width: `${all > 0 ? (used / all) * 100 : 0}%` }} /></div>
      <span className="note">{Math.round(used)} of {Math.round(all)}{unit} in use</span>
    </div>
  );
}
