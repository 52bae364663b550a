interface ImportMetaEnv {
  readonly VITE_SITE_NAME: string;
  readonly VITE_API_BASE: string;
  readonly VITE_WS_PATH: string;
}
