const RADIUS = 150;
const TILT = 0.4;
const STEPS = Array.from({ length: 73 }, (_, step) => step / 72);

/** One line of the graticule as a path: orthographic view, only the half that faces us. */
function line(point: (part: number) => [longitude: number, latitude: number]): string {
  let pen = "M";
  let path = "";
  for (const part of STEPS) {
    const [longitude, latitude] = point(part);
    const x = Math.cos(latitude) * Math.sin(longitude);
    const z = Math.cos(latitude) * Math.cos(longitude);
    const y = Math.sin(latitude) * Math.cos(TILT) - z * Math.sin(TILT);
    const near = Math.sin(latitude) * Math.sin(TILT) + z * Math.cos(TILT) > 0;
    if (near) path += `${pen}${(x * RADIUS).toFixed(1)} ${(-y * RADIUS).toFixed(1)}`;
    pen = near ? "L" : "M";
  }
  return path;
}

const meridian = (degrees: number) => line((part) => [(degrees * Math.PI) / 180, (part - 0.5) * Math.PI]);
const parallel = (degrees: number) => line((part) => [(part * 2 - 1) * Math.PI, (degrees * Math.PI) / 180]);

const GRATICULE = [
  ...[-60, -45, -30, -15, 0, 15, 30, 45, 60, 75].map(parallel),
  ...Array.from({ length: 12 }, (_, index) => meridian(index * 30 - 170)),
].join("");

export function Globe() {
  return (
    <svg className="globe" viewBox="-156 -156 312 190" fill="none" stroke="currentColor" aria-hidden="true">
      <circle r={RADIUS} fill="var(--water)" strokeWidth="1.5" />
      <path d={GRATICULE} strokeWidth="0.8" opacity="0.55" />
      <path d={meridian(10)} stroke="var(--magenta)" strokeWidth="2.2" />
    </svg>
  );
}
