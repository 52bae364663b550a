import { Empty } from "./Panel";

export interface Host {
  name: string;
  gpu: string;
  memory_gb: number;
  slots: number;
  used: number;
}

interface HostsProps {
  hosts: Host[];
  start: (host: string) => Promise<void>;
}

export function Hosts({ hosts, start }: HostsProps) {
  if (hosts.length === 0) return <Empty title="No GPU hosts">None is set up on this head.</Empty>;
  return (
    <ul className="rows">
      {hosts.map((host) => <HostRow key={host.name} host={host} start={start} />)}
    </ul>
  );
}

function HostRow({ host, start }: { host: Host; start: HostsProps["start"] }) {
  const { name, gpu, memory_gb: memory, slots, used } = host;
  const free = Math.max(0, slots - used);
  return (
    <li className="host">
      <div>
        <h3>{name}</h3>
        <p className="note">{gpu}, {memory} GB</p>
      </div>
      <div>
        <div className="slots" aria-hidden="true">
          {Array.from({ length: slots }, (_, slot) => <i key={slot} data-used={slot < used} />)}
        </div>
        <p className="note">{free === 0 ? "no slot free" : `${free} of ${slots} slots free`}</p>
      </div>
      <button
        type="button" className="quiet" disabled={free === 0}
        aria-label={`Start a session on ${name}`} onClick={() => void start(name)}
      >
        Start session
      </button>
    </li>
  );
}
