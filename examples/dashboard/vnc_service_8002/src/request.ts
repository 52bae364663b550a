/** A desktop request travels as a note of the dashboard, so that operators see it there. */
export interface Note {
  id: number;
  text: string;
  written: string;
}

export interface Request {
  node: string;
  size: string;
  hours: string;
}

const FORM = /^Desktop request: (\S+), (\S+), (\d+) h$/;

export const writeRequest = ({ node, size, hours }: Request) => `Desktop request: ${node}, ${size}, ${hours} h`;

export function readRequest({ id, text, written }: Note) {
  const [, node, size, hours] = FORM.exec(text) ?? [];
  return node && size && hours ? { id, node, size, hours, written } : null;
}
