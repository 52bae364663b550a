import { type FormEvent, useState } from "react";
import { reason, send } from "./live";

export interface Session {
  authenticated: boolean;
  user: string | null;
  name: string | null;
  roles: string[];
  expires: number | null;
}

const LOGIN = `${import.meta.env.VITE_API_BASE}/saml/login`;

const clock = (seconds: number) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export function SignIn({ session, changed }: { session: Session; changed: () => void }) {
  if (!session.authenticated) return <Invitation />;
  return <Account session={session} changed={changed} />;
}

/** The identity provider asks who somebody is; this page only sends there. */
function Invitation() {
  return (
    <div className="sign-in">
      <p>Sign in once, and every page of the site knows you.</p>
      <a className="button" id="sign-in" href={`${LOGIN}?next=${encodeURIComponent(location.pathname)}`}>
        Sign in
      </a>
      <p className="note">
        You choose your account at the site's identity provider and come back here. On a
        demonstration site that is a list of three people, and no password is asked for.
      </p>
    </div>
  );
}

function Account({ session, changed }: { session: Session; changed: () => void }) {
  const [error, setError] = useState("");

  async function leave(event: FormEvent) {
    event.preventDefault();
    try {
      await send("/logout");
      changed();
    } catch (caught) {
      setError(reason(caught));
    }
  }

  return (
    <form className="sign-in" onSubmit={(event) => void leave(event)}>
      <p className="who">{session.name ?? session.user}</p>
      <p className="note">
        Signed in as <strong>{session.user}</strong> with {session.roles.length === 1 ? "the role" : "the roles"}{" "}
        {session.roles.join(", ")}
        {session.expires !== null && <> until {clock(session.expires)}</>}.
      </p>
      <button type="submit" className="quiet" id="sign-out">Sign out</button>
      {error && <p className="failed" role="alert">{error}</p>}
    </form>
  );
}
