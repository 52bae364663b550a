import { type ReactNode, useId } from "react";
import type { Live } from "./live";

interface PanelProps<T> {
  title: string;
  live: Live<T>;
  aside?: ReactNode;
  children: (data: T) => ReactNode;
}

/** A titled box around live data, with its loading and error states. */
export function Panel<T>({ title, live, aside, children }: PanelProps<T>) {
  const id = useId();
  const { data, error, reload } = live;
  return (
    <section className="panel" aria-labelledby={id} aria-busy={data === null && !error}>
      <header><h2 id={id}>{title}</h2>{aside}</header>
      {data !== null ? children(data) : error ? null : <Loading />}
      {error && (
        <div className="failed" role="alert">
          <p>{data === null ? "Could not load this." : "Not refreshed just now."} {error}</p>
          <button className="quiet" type="button" onClick={reload}>Try again</button>
        </div>
      )}
    </section>
  );
}

export function Loading() {
  return <div className="loading" role="status" aria-label="Loading"><i /><i /><i /></div>;
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <svg width="72" height="40" viewBox="0 0 72 40" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
        <path d="M2 22q8.5-8 17 0t17 0 17 0 17 0" />
        <path d="M10 31q6.5-6 13 0t13 0 13 0 13 0" opacity="0.6" />
        <path d="M22 39q3.5-3.5 7 0t7 0 7 0 7 0" opacity="0.3" />
        <path d="M36 18V2l9 6-9 4" stroke="var(--magenta)" />
      </svg>
      <strong>{title}</strong>
      {children}
    </div>
  );
}
