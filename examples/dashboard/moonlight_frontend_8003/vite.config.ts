import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/moonlight/",
  plugins: [react()],
  server: {
    port: 8003,
    proxy: {
      "/moonlight-api/": { target: "http://127.0.0.1:8004", rewrite: (path) => path.replace("/moonlight-api", "") },
    },
  },
});
