import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/cae/",
  plugins: [react()],
  server: {
    port: 5173,
    proxy: {
      "/cae-api/": { target: "http://127.0.0.1:5000", rewrite: (path) => path.replace("/cae-api", "") },
    },
  },
});
