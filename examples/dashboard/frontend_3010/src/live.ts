import { useCallback, useEffect, useState } from "react";

export interface Live<T> {
  data: T | null;
  error: string | null;
  reload: () => void;
}

/** Fetch one JSON document below the app's API; the backend's own words make the error. */
export async function ask<T>(path: string, init?: RequestInit): Promise<T> {
  const answer = await fetch(import.meta.env.VITE_API_BASE + path, init);
  const body: unknown = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body as T;
  const said = (body as { error?: string } | null)?.error;
  throw new Error(said ?? `${import.meta.env.VITE_API_BASE}${path} answered ${answer.status}`);
}

export function send<T>(path: string, body: unknown = {}): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  return ask<T>(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export const reason = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** Keep one document of the API fresh. An error leaves the last good data in place. */
export function useLive<T>(path: string, seconds: number): Live<T> {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    const load = async () => {
      try {
        setData(await ask<T>(path, { signal: abort.signal }));
        setError(null);
      } catch (caught) {
        if (!abort.signal.aborted) setError(reason(caught));
      }
    };
    void load();
    const timer = setInterval(load, seconds * 1000);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [path, seconds, turn]);
  return { data, error, reload: useCallback(() => setTurn((last) => last + 1), []) };
}

/** Tell the page's observers that live data is on the screen. */
export function useReady(shown: boolean) {
  useEffect(() => {
    if (shown) document.body.dataset.ready = "true";
  }, [shown]);
}
