import { Empty } from "./Panel";

export interface Service {
  name: string;
  title: string;
  description: string;
  href: string;
  icon: string;
  status: string;
}

const ICONS: Record<string, string> = {
  gauge: "M4 17a9 9 0 1 1 16 0M12 14l4-5",
  cube: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  flow: "M3 5h6v5H3zM15 14h6v5h-6zM9 7.5h4a3 3 0 0 1 3 3V14",
  desktop: "M3 5h18v11H3zM9 20h6M12 16v4",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
  key: "M11 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM11 12h10v4M17 12v3",
};
const PLAIN = "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z";

export function Tiles({ services }: { services: Service[] }) {
  if (services.length === 0) return <Empty title="No services yet">Nothing is published on this head.</Empty>;
  return (
    <ul className="tiles">
      {services.map(({ name, title, description, href, icon, status }) => (
        <li key={name}>
          <a href={href === import.meta.env.BASE_URL ? "#account" : href}>
            <svg width="24" height="24" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.4" aria-hidden="true">
              <path d={ICONS[icon] ?? PLAIN} />
            </svg>
            <h3>{title}</h3>
            <p>{description}</p>
            <span className={status === "available" ? "state good" : "state wait"}>{status}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}
