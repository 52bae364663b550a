import { type KeyboardEvent, type PointerEvent, useEffect, useMemo, useRef } from "react";
import { type Colours, type Mesh, draw, prepare } from "./wireframe";

const RADIANS_PER_SECOND = 0.35;
/** Above this many triangles a frame takes too long to turn by itself; it turns when asked. */
const HEAVY = 30_000;
const still = matchMedia("(prefers-reduced-motion: reduce)");

function colours(element: Element): Colours {
  const style = getComputedStyle(element);
  const [blue, magenta, muted] = ["--blue", "--magenta", "--muted"].map((name) => style.getPropertyValue(name));
  return { blue: blue!, magenta: magenta!, muted: muted! };
}

/** A canvas that turns the mesh by itself until it is taken by pointer or arrow keys. */
export function Viewer({ mesh, label }: { mesh: Mesh; label: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const pose = useRef({ yaw: -0.6, pitch: 0.42, held: still.matches || mesh.faces.length > HEAVY });
  const solid = useMemo(() => prepare(mesh), [mesh]);

  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    let last = performance.now();
    let drawn = "";
    let frame = requestAnimationFrame(function turn(now) {
      const ratio = devicePixelRatio;
      const [width, height] = [Math.round(element.clientWidth * ratio), Math.round(element.clientHeight * ratio)];
      if (element.width !== width) element.width = width;
      if (element.height !== height) element.height = height;
      if (!pose.current.held) pose.current.yaw += ((now - last) / 1000) * RADIANS_PER_SECOND;
      last = now;
      const ink = colours(element);
      const picture = [pose.current.yaw, pose.current.pitch, width, height, ink.blue].join(" ");
      if (picture !== drawn) draw(element, solid, pose.current.yaw, pose.current.pitch, ink);
      drawn = picture;
      frame = requestAnimationFrame(turn);
    });
    return () => cancelAnimationFrame(frame);
  }, [solid]);

  function move(yaw: number, pitch: number) {
    pose.current.held = true;
    pose.current.yaw += yaw;
    pose.current.pitch = Math.max(-1.5, Math.min(1.5, pose.current.pitch + pitch));
  }

  function drag(event: PointerEvent) {
    if (event.buttons === 1) move(event.movementX / 150, event.movementY / 150);
  }

  function press(event: KeyboardEvent) {
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1],
    };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    move(...step);
  }

  return (
    <canvas
      ref={canvas} className="viewer" role="img" tabIndex={0} onKeyDown={press}
      aria-label={`${label}, a wireframe; turn it with the arrow keys`}
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={drag} onDoubleClick={() => (pose.current.held = false)}
    />
  );
}
