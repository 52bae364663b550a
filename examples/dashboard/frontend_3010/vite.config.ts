import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/dashboard/",
  plugins: [react()],
  server: {
    port: 3010,
    proxy: {
      "/api/": { target: "http://127.0.0.1:5010" },
      "/ws": { target: "ws://127.0.0.1:5011", ws: true },
    },
  },
});
