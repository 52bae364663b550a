import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/",
  plugins: [react()],
  server: {
    port: 4431,
    proxy: {
      "/auth/": { target: "http://127.0.0.1:4430" },
    },
  },
});
