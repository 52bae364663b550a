import { useEffect, useState } from "react";

export interface Sample {
  type: "load";
  time: string;
  load1: number;
  cpus: number;
  memory_used: number;
  clients: number;
}

export type Link = "connecting" | "live" | "lost";

const SAMPLES = 45;
const LONGEST_WAIT = 15_000;

/** Follow the head's load through the WebSocket; a lost link is taken up again, ever more patiently. */
export function useLoad(): { link: Link; samples: Sample[] } {
  const [link, setLink] = useState<Link>("connecting");
  const [samples, setSamples] = useState<Sample[]>([]);
  useEffect(() => {
    let wait = 500;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let socket: WebSocket;

    function connect() {
      const url = new URL(import.meta.env.VITE_WS_PATH, location.href);
      url.protocol = url.protocol.replace("http", "ws");
      socket = new WebSocket(url);
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(String(data)) as { type: string };
        wait = 500;
        setLink("live");
        if (message.type === "load") setSamples((past) => [...past, message as Sample].slice(-SAMPLES));
      };
      socket.onclose = () => {
        setLink("lost");
        timer = setTimeout(connect, wait);
        wait = Math.min(wait * 2, LONGEST_WAIT);
      };
    }

    connect();
    return () => {
      clearTimeout(timer);
      socket.onclose = null;
      socket.close();
    };
  }, []);
  return { link, samples };
}
