import type { ReactNode } from "react";

const APPS = [
  { name: "frontend_3010", label: "Jobs", href: "/dashboard/" },
  { name: "kooCAEWeb_5173", label: "CAE", href: "/cae/" },
  { name: "app_5174", label: "Automation", href: "/app/" },
  { name: "vnc_service_8002", label: "Desktops", href: "/vnc/" },
  { name: "moonlight_frontend_8003", label: "Streaming", href: "/moonlight/" },
];

function Mark() {
  return (
    <svg width="26" height="26" viewBox="0 0 26 26" fill="none" stroke="currentColor" strokeWidth="1.3" aria-hidden="true">
      <circle cx="13" cy="13" r="11.5" />
      <path d="M1.5 13h23M3.4 7.4h19.2M3.4 18.6h19.2" opacity="0.55" />
      <ellipse cx="13" cy="13" rx="5.5" ry="11.5" opacity="0.55" />
      <path d="M13 0v26" stroke="var(--magenta)" strokeWidth="2" />
    </svg>
  );
}

interface ShellProps {
  app: string;
  title: string;
  lede: string;
  aside?: ReactNode;
  children: ReactNode;
}

/** The frame that every app of the site shares: header with the other apps, page title, content. */
export function Shell({ app, title, lede, aside, children }: ShellProps) {
  return (
    <div data-app={app}>
      <a className="skip" href="#content">Skip to content</a>
      <header className="bar">
        <div>
          <a className="brand" href="/"><Mark />{import.meta.env.VITE_SITE_NAME}</a>
          <nav aria-label="Applications">
            {APPS.map(({ name, label, href }) => (
              <a key={name} href={href} aria-current={name === app ? "page" : undefined}>{label}</a>
            ))}
          </nav>
        </div>
      </header>
      <main id="content">
        <div className="title">
          <div><h1>{title}</h1><p>{lede}</p></div>
          {aside}
        </div>
        {children}
      </main>
    </div>
  );
}
