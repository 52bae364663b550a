import { type ChangeEvent, useState } from "react";
import { Empty } from "./Panel";
import { ask, reason } from "./live";

export interface Model {
  id: number;
  title: string;
  triangles: number;
}

interface ModelsProps {
  models: Model[];
  chosen: number | undefined;
  choose: (id: number) => void;
}

export function Models({ models, chosen, choose }: ModelsProps) {
  if (models.length === 0) return <Empty title="No models yet">Upload an STL file to begin.</Empty>;
  return (
    <ul className="models">
      {models.map(({ id, title, triangles }) => (
        <li key={id}>
          <button type="button" aria-pressed={id === chosen} onClick={() => choose(id)}>
            <span>{title}</span>
            <span className="note">{triangles.toLocaleString()} triangles</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

export function Upload({ added }: { added: (id: number) => void }) {
  const [said, setSaid] = useState({ text: "", failed: false });

  async function upload({ target }: ChangeEvent<HTMLInputElement>) {
    const file = target.files?.[0];
    if (!file) return;
    const body = new FormData();
    body.append("file", file);
    setSaid({ text: `Reading ${file.name}…`, failed: false });
    try {
      const model = await ask<Model>("/models", { method: "POST", body });
      setSaid({ text: `${model.title} is in the library.`, failed: false });
      added(model.id);
    } catch (caught) {
      setSaid({ text: reason(caught), failed: true });
    }
    target.value = "";
  }

  return (
    <div className="upload">
      <label className="button" htmlFor="stl">Upload STL</label>
      <input id="stl" type="file" accept=".stl" onChange={(event) => void upload(event)} />
      <p className={said.failed ? "failed" : "note"} role="status">{said.text}</p>
    </div>
  );
}
