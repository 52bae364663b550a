import { scaleBand, scaleLinear } from "d3-scale";
import { useState } from "react";
import { Empty } from "./Panel";
import { useWidth } from "./useWidth";

export interface Day {
  date: string;
  cpu_hours: number;
  gpu_hours: number;
  jobs: number;
}

const LEFT = 46;
const BANDS = [
  { key: "cpu_hours", label: "CPU hours per day", top: 26, height: 150, colour: "var(--fill)" },
  { key: "gpu_hours", label: "GPU hours per day", top: 214, height: 72, colour: "var(--land)" },
] as const;
const HEIGHT = 312;

/** The calendar day as the site writes it; UTC, because the date has no time of its own. */
const spell = (date: string, style: Intl.DateTimeFormatOptions) =>
  new Date(date).toLocaleDateString([], { timeZone: "UTC", ...style });

export function Usage({ days }: { days: Day[] }) {
  const [box, width] = useWidth<HTMLDivElement>();
  const [over, setOver] = useState<Day>();
  const shown = over ?? days.at(-1);
  if (!shown) return <Empty title="No usage yet">The first day is counted at midnight.</Empty>;
  const x = scaleBand(days.map(({ date }) => date), [LEFT, width]).paddingInner(0.28);
  const every = Math.ceil(days.length / Math.max(2, Math.floor(width / 110)));
  return (
    <div ref={box} className="usage">
      <p className="note" aria-live="polite">
        <strong>{spell(shown.date, { weekday: "short", day: "numeric", month: "long" })}</strong>
        <span>{shown.cpu_hours.toLocaleString()} CPU h</span>
        <span>{shown.gpu_hours.toLocaleString()} GPU h</span>
        <span>{shown.jobs} jobs</span>
      </p>
      {width > LEFT && (
        <svg width={width} height={HEIGHT} role="img" aria-label={`CPU and GPU hours of the last ${days.length} days`} onPointerLeave={() => setOver(undefined)}>
          {BANDS.map((band) => <Bars key={band.key} band={band} days={days} x={x} width={width} shown={shown} />)}
          {days.map((day, index) => (
            <g key={day.date}>
              {(days.length - 1 - index) % every === 0 && (
                <text className="tick" x={x(day.date)! + x.bandwidth() / 2} y={HEIGHT - 6} textAnchor={index === days.length - 1 ? "end" : "middle"} dx={index === days.length - 1 ? x.bandwidth() / 2 : 0}>
                  {spell(day.date, { day: "numeric", month: "short" })}
                </text>
              )}
              <rect x={x(day.date)! - x.step() * 0.14} width={x.step()} height={HEIGHT} fill="transparent" onPointerEnter={() => setOver(day)} />
            </g>
          ))}
        </svg>
      )}
    </div>
  );
}

interface BarsProps {
  band: (typeof BANDS)[number];
  days: Day[];
  x: ReturnType<typeof scaleBand<string>>;
  width: number;
  shown: Day;
}

/** One measure over the days, on its own scale: the two differ by an order of magnitude. */
function Bars({ band: { key, label, top, height, colour }, days, x, width, shown }: BarsProps) {
  const y = scaleLinear([0, Math.max(1, ...days.map((day) => day[key]))], [top + height, top]).nice(3);
  return (
    <g>
      <text className="tick" x="0" y={top - 12}>{label}</text>
      {y.ticks(3).map((tick) => (
        <g key={tick}>
          <path d={`M${LEFT} ${y(tick)}H${width}`} stroke="var(--line)" />
          <text className="tick" x={LEFT - 8} y={y(tick) + 4} textAnchor="end">{tick.toLocaleString()}</text>
        </g>
      ))}
      {days.map((day) => (
        <rect
          key={day.date} x={x(day.date)} width={x.bandwidth()} y={y(day[key])} height={Math.max(0, top + height - y(day[key]))}
          fill={day === shown ? "var(--magenta)" : colour}
        />
      ))}
    </g>
  );
}
