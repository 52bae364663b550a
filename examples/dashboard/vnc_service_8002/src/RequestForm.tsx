import { useState } from "react";
import { reason, send } from "./live";
import { writeRequest } from "./request";

const SIZES = ["1920x1080", "2560x1440", "3840x2160"];
const HOURS = ["2", "4", "8", "24"];

export function RequestForm({ nodes, sent }: { nodes: string[]; sent: () => void }) {
  const [said, setSaid] = useState<{ text: string; failed: boolean } | null>(null);

  async function submit(form: FormData) {
    const word = (name: string) => String(form.get(name));
    const request = { node: word("node"), size: word("size"), hours: word("hours") };
    try {
      await send("/notes", { text: writeRequest(request) });
      setSaid({ text: `Asked for a desktop on ${request.node}.`, failed: false });
      sent();
    } catch (caught) {
      setSaid({ text: reason(caught), failed: true });
    }
  }

  return (
    <form className="request" action={submit}>
      <Choice name="node" label="Machine" options={nodes} />
      <Choice name="size" label="Screen" options={SIZES} />
      <Choice name="hours" label="Hours" options={HOURS} />
      <button type="submit" disabled={nodes.length === 0}>Request desktop</button>
      {said && <p className={said.failed ? "failed" : "state good"} role="status">{said.text}</p>}
    </form>
  );
}

function Choice({ name, label, options }: { name: string; label: string; options: string[] }) {
  return (
    <div>
      <label htmlFor={name}>{label}</label>
      <select id={name} name={name}>
        {options.map((option) => <option key={option}>{option}</option>)}
      </select>
    </div>
  );
}
