/** Made by build.mjs: the engine's module in base64, and the script of the worker as text. */
export const wasm: string
export const worker: string
