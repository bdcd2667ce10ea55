/** Light, dark, or as the system has it: one button that goes round, and remembers. */

const KEY = 'magnetar-theme'
const THEMES = ['auto', 'light', 'dark']

/** A browser may deny the page to keep anything: then a choice holds for as long as the page is open. */
function kept(use) {
  try {
    return use(localStorage)
  } catch {
    return null
  }
}

export function theme(button) {
  const name = button.querySelector('span')
  const set = (chosen) => {
    document.documentElement.dataset.theme = chosen
    name.textContent = chosen
    dispatchEvent(new Event('themechange'))
  }
  const stored = kept((storage) => storage.getItem(KEY))
  set(THEMES.includes(stored) ? stored : 'auto')
  button.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]
    kept((storage) => storage.setItem(KEY, next))
    set(next)
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => dispatchEvent(new Event('themechange')))
}
