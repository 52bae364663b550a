import { useState } from "react";
import { type Model, Models, Upload } from "./Models";
import { Panel } from "./Panel";
import { Shell } from "./Shell";
import { Viewer } from "./Viewer";
import { useLive, useReady } from "./live";
import type { Mesh } from "./wireframe";

export function App() {
  const models = useLive<{ models: Model[] }>("/models", 30);
  const [picked, setPicked] = useState<number>();
  const all = models.data?.models ?? [];
  const model = all.find(({ id }) => id === picked) ?? all[0];
  useReady(models.data !== null && all.length === 0);

  function added(id: number) {
    setPicked(id);
    models.reload();
  }

  return (
    <Shell
      app="kooCAEWeb_5173"
      title="CAE workbench"
      lede="The geometry library of the site. Choose a part, turn it, and check its measures before it goes to the mesher."
    >
      <div className="columns workbench">
        <Panel title="Library" live={models}>
          {() => (
            <>
              <Models models={all} chosen={model?.id} choose={setPicked} />
              <Upload added={added} />
            </>
          )}
        </Panel>
        {model && <Part key={model.id} model={model} />}
      </div>
    </Shell>
  );
}

function Part({ model }: { model: Model }) {
  const mesh = useLive<Mesh>(`/models/${model.id}/mesh`, 3600);
  useReady(mesh.data !== null);
  return (
    <Panel title={model.title} live={mesh} aside={<span>Drag to turn, double-click to let go</span>}>
      {(known) => (
        <>
          <Viewer mesh={known} label={model.title} />
          <Measures mesh={known} />
        </>
      )}
    </Panel>
  );
}

const spell = (value: number) => value.toLocaleString(undefined, { maximumFractionDigits: 1 });

function Measures({ mesh }: { mesh: Mesh }) {
  const [low, high] = mesh.bounds;
  const size = high.map((value, axis) => spell(value - low[axis]!)).join(" × ");
  const measures = [
    ["Size", size, "mm"],
    ["Surface", spell(mesh.area / 100), "cm²"],
    ["Volume", spell(mesh.volume / 1000), "cm³"],
    ["Corners", spell(mesh.vertices.length), ""],
    ["Triangles", spell(mesh.faces.length), ""],
  ];
  return (
    <dl className="measures">
      {measures.map(([name, value, unit]) => (
        <div key={name}><dt className="note">{name}</dt><dd>{value} <small>{unit}</small></dd></div>
      ))}
    </dl>
  );
}
