import { type FormEvent, useState } from "react";
import { reason, send } from "./live";

export interface Session {
  authenticated: boolean;
  user: string | null;
  roles: string[];
  expires: number | null;
}

const clock = (seconds: number) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export function SignIn({ session, changed }: { session: Session; changed: () => void }) {
  const [user, setUser] = useState("");
  const [error, setError] = useState("");

  async function post(path: string) {
    try {
      await send(path, { user });
      setError("");
      setUser("");
      changed();
    } catch (caught) {
      setError(reason(caught));
    }
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    void post(session.authenticated ? "/logout" : "/login");
  }

  return (
    <form className="sign-in" onSubmit={submit}>
      {session.authenticated ? (
        <>
          <p className="who">{session.user}</p>
          <p className="note">
            Signed in with the role {session.roles.join(", ")}
            {session.expires !== null && <> until {clock(session.expires)}</>}.
          </p>
          <button type="submit" className="quiet">Sign out</button>
        </>
      ) : (
        <>
          <label htmlFor="user">User name</label>
          <input
            id="user" name="user" autoComplete="username" required maxLength={32}
            value={user} onChange={(event) => setUser(event.target.value)}
          />
          <button type="submit">Sign in</button>
          <p className="note">Use the name you have on the cluster.</p>
        </>
      )}
      {error && <p className="failed" role="alert">{error}</p>}
    </form>
  );
}
