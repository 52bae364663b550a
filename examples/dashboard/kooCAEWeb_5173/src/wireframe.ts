import { mat4, vec3 } from "gl-matrix";

export interface Mesh {
  vertices: [number, number, number][];
  faces: [number, number, number][];
  bounds: [[number, number, number], [number, number, number]];
  area: number;
  volume: number;
}

interface Edge {
  from: number;
  to: number;
  faces: number[];
  sharp: boolean;
}

export interface Solid {
  points: vec3[];
  faces: Mesh["faces"];
  normals: vec3[];
  edges: Edge[];
  floor: number;
}

export type Colours = Record<"blue" | "magenta" | "muted", string>;

/** Cosine of the angle between two faces below which their common edge is drawn as a crease. */
const CREASE = 0.9;
const TURN = Math.PI * 2;

/** Centre the mesh, scale it into the unit sphere and find its edges. */
export function prepare({ vertices, faces, bounds }: Mesh): Solid {
  const centre = vec3.lerp(vec3.create(), bounds[0], bounds[1], 0.5);
  const radius = vec3.distance(bounds[0], bounds[1]) / 2 || 1;
  const points = vertices.map((vertex) => {
    const point = vec3.subtract(vec3.create(), vertex, centre);
    return vec3.scale(point, point, 1 / radius);
  });
  const normals = faces.map(([a, b, c]) => {
    const [pa, pb, pc] = [points[a]!, points[b]!, points[c]!];
    const normal = vec3.cross(vec3.create(), vec3.subtract(vec3.create(), pb, pa), vec3.subtract(vec3.create(), pc, pa));
    return vec3.normalize(normal, normal);
  });
  const edges = new Map<string, Edge>();
  faces.forEach((face, index) => {
    face.forEach((corner, side) => {
      const next = face[(side + 1) % 3]!;
      const [from, to] = corner < next ? [corner, next] : [next, corner];
      const edge = edges.get(`${from} ${to}`) ?? { from, to, faces: [], sharp: true };
      edge.faces.push(index);
      edges.set(`${from} ${to}`, edge);
    });
  });
  for (const edge of edges.values()) {
    const [one, two] = edge.faces.map((face) => normals[face]!);
    edge.sharp = edge.faces.length !== 2 || vec3.dot(one!, two!) < CREASE;
  }
  return { points, faces, normals, edges: [...edges.values()], floor: (bounds[0][2] - centre[2]!) / radius };
}

/** Draw the solid as glass: one colour for all faces, so that their order does not matter. */
export function draw(canvas: HTMLCanvasElement, solid: Solid, yaw: number, pitch: number, colours: Colours) {
  const pen = canvas.getContext("2d");
  if (!pen) return;
  const { width, height } = canvas;
  const size = Math.min(width * 0.42, height * 0.5);
  const unit = Math.max(1, Math.round(height / 440));
  const view = mat4.create();
  mat4.rotateX(view, view, pitch - Math.PI / 2);
  mat4.rotateZ(view, view, yaw);
  const at = (point: vec3) => {
    const [x, y] = vec3.transformMat4(vec3.create(), point, view);
    return [width / 2 + x! * size, height / 2 - y! * size] as const;
  };
  const stroke = (path: Path2D, colour: string, alpha: number, weight: number) => {
    pen.globalAlpha = alpha;
    pen.strokeStyle = colour;
    pen.lineWidth = weight * unit;
    pen.stroke(path);
  };

  pen.clearRect(0, 0, width, height);
  const [ring, north] = compass(at, solid.floor);
  stroke(ring, colours.muted, 0.5, 1);
  stroke(north, colours.magenta, 1, 2);

  const flat = solid.points.map(at);
  const facing = solid.normals.map((normal) => vec3.transformMat4(vec3.create(), normal, view)[2]! > 0);
  pen.fillStyle = colours.blue;
  solid.faces.forEach((face, index) => {
    if (!facing[index]) return;
    const light = vec3.dot(solid.normals[index]!, [0.48, -0.6, 0.64]);
    pen.globalAlpha = 0.2 - 0.14 * Math.max(0, light);
    pen.beginPath();
    for (const corner of face) pen.lineTo(...flat[corner]!);
    pen.fill();
  });

  const [hidden, soft, sharp] = [new Path2D(), new Path2D(), new Path2D()];
  for (const edge of solid.edges) {
    const path = !edge.faces.some((face) => facing[face]) ? hidden : edge.sharp ? sharp : soft;
    if (path === hidden && !edge.sharp) continue;
    path.moveTo(...flat[edge.from]!);
    path.lineTo(...flat[edge.to]!);
  }
  pen.lineJoin = pen.lineCap = "round";
  stroke(hidden, colours.blue, 0.28, 1);
  stroke(soft, colours.blue, 0.22, 0.8);
  stroke(sharp, colours.blue, 1, 1.6);
  pen.globalAlpha = 1;
}

/** The graduated circle under the part, and its one marked bearing. */
function compass(at: (point: vec3) => readonly [number, number], floor: number) {
  const [ring, north] = [new Path2D(), new Path2D()];
  for (let step = 0; step <= 72; step += 1) {
    const angle = (step / 72) * TURN;
    const spot = (radius: number) => at([Math.sin(angle) * radius, Math.cos(angle) * radius, floor]);
    ring.lineTo(...spot(1));
  }
  for (let step = 0; step < 36; step += 1) {
    const angle = (step / 36) * TURN;
    const spot = (radius: number) => at([Math.sin(angle) * radius, Math.cos(angle) * radius, floor]);
    const path = step === 0 ? north : ring;
    path.moveTo(...spot(1));
    path.lineTo(...spot(step % 9 === 0 ? 1.1 : 1.04));
  }
  return [ring, north] as const;
}
