import { type FormEvent, useState } from "react";
import { reason, send } from "./live";

export interface Note {
  id: number;
  text: string;
  written: string;
}

const when = (written: string) => new Date(written).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export function Notes({ notes, added }: { notes: Note[]; added: () => void }) {
  const [text, setText] = useState("");
  const [error, setError] = useState("");

  async function add(event: FormEvent) {
    event.preventDefault();
    try {
      await send("/notes", { text });
      setText("");
      setError("");
      added();
    } catch (caught) {
      setError(reason(caught));
    }
  }

  return (
    <>
      <form className="write" onSubmit={(event) => void add(event)}>
        <label htmlFor="note">New note</label>
        <input id="note" value={text} maxLength={500} required onChange={(event) => setText(event.target.value)} />
        <button type="submit">Add</button>
      </form>
      {error && <p className="failed" role="alert">{error}</p>}
      {notes.length === 0 ? (
        <p className="note">No notes yet. They stay through restarts and rollbacks.</p>
      ) : (
        <ul className="rows notes" tabIndex={0} aria-label="Notes">
          {notes.map(({ id, text: words, written }) => (
            <li key={id}><p>{words}</p><time className="note" dateTime={written}>{when(written)}</time></li>
          ))}
        </ul>
      )}
    </>
  );
}
