import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/vnc/",
  plugins: [react()],
  server: {
    port: 8002,
    proxy: {
      "/api/": { target: "http://127.0.0.1:5010" },
    },
  },
});
