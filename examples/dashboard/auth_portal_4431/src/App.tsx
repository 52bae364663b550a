import { Globe } from "./Globe";
import { Panel } from "./Panel";
import { Shell } from "./Shell";
import { type Session, SignIn } from "./SignIn";
import { type Service, Tiles } from "./Tiles";
import { useLive, useReady } from "./live";

export function App() {
  const services = useLive<{ services: Service[] }>("/services", 60);
  const session = useLive<Session>("/session", 60);
  useReady(services.data !== null && session.data !== null);
  return (
    <Shell
      app="auth_portal_4431"
      title={`Welcome to ${import.meta.env.VITE_SITE_NAME}`}
      lede="One account for jobs, desktops and engineering tools. Pick where to go; you stay signed in on every page."
      aside={<Globe />}
    >
      <div className="columns portal">
        <div id="account">
          <Panel title="Your account" live={session}>
            {(known) => <SignIn session={known} changed={session.reload} />}
          </Panel>
        </div>
        <Panel title="Services" live={services}>
          {({ services: all }) => <Tiles services={all} />}
        </Panel>
      </div>
    </Shell>
  );
}
