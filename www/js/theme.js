/** Light, dark, or as the system has it: one button that goes round, and remembers. */

const KEY = 'magnetar-theme'
const THEMES = ['auto', 'light', 'dark']

export function theme(button) {
  const name = button.querySelector('span')
  const set = (chosen) => {
    document.documentElement.dataset.theme = chosen
    name.textContent = chosen
    dispatchEvent(new Event('themechange'))
  }
  const stored = localStorage.getItem(KEY)
  set(THEMES.includes(stored) ? stored : 'auto')
  button.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]
    localStorage.setItem(KEY, next)
    set(next)
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => dispatchEvent(new Event('themechange')))
}
