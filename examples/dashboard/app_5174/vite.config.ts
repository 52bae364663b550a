import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/app/",
  plugins: [react()],
  server: {
    port: 5174,
    proxy: {
      "/cae-automation/": { target: "http://127.0.0.1:5001", rewrite: (path) => path.replace("/cae-automation", "") },
    },
  },
});
