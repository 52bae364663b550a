import { useState } from "react";
import { type Host, Hosts } from "./Hosts";
import { Empty, Panel } from "./Panel";
import { Shell } from "./Shell";
import { reason, send, useLive, useReady } from "./live";

interface Session {
  id: string;
  host: string;
  began: number;
  state: string;
}

const STORES: Record<string, string> = {
  redis: "kept in Redis, seen from every head",
  file: "kept in a file on this head; Redis is not in reach",
};

export function App() {
  const hosts = useLive<{ hosts: Host[] }>("/hosts", 5);
  const sessions = useLive<{ sessions: Session[]; stored_in: string }>("/sessions", 5);
  const [error, setError] = useState("");
  useReady(hosts.data !== null && sessions.data !== null);

  async function start(host: string) {
    try {
      await send("/sessions", { host });
      setError("");
    } catch (caught) {
      setError(reason(caught));
    }
    hosts.reload();
    sessions.reload();
  }

  const store = sessions.data?.stored_in ?? "";
  return (
    <Shell
      app="moonlight_frontend_8003"
      title="Streaming"
      lede="Low-latency 3D sessions on the GPU hosts, for post-processing that a plain desktop cannot carry."
    >
      <div className="columns streaming">
        <Panel title="GPU hosts" live={hosts}>
          {({ hosts: all }) => <Hosts hosts={all} start={start} />}
        </Panel>
        <Panel title="Sessions" live={sessions} aside={store && <span>{STORES[store] ?? `kept in ${store}`}</span>}>
          {({ sessions: all }) =>
            all.length === 0 ? (
              <Empty title="No session is open">Start one on a host with a free slot.</Empty>
            ) : (
              <ul className="rows">{all.map((session) => <SessionRow key={session.id} session={session} />)}</ul>
            )
          }
        </Panel>
      </div>
      {error && <p className="failed" role="alert">{error}</p>}
    </Shell>
  );
}

function SessionRow({ session }: { session: Session }) {
  const began = new Date(session.began * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return (
    <li className="session">
      <div className="split">
        <h3>{session.host} <code>{session.id}</code></h3>
        <span className={session.state === "ready" ? "state good" : "state busy"}>{session.state}</span>
      </div>
      <p className="note">Open since {began}</p>
    </li>
  );
}
