/** The view that copies a file: what the user does, and what is shown. */

import { engineWorker, open } from '../magnetar.js'
import { at, reason, save, told, write } from '../dom.js'
import { logTo } from '../log.js'
import { bytes, bytesOf, count, counted, percent, span } from '../text.js'
import { clearStale, Copy } from './copy.js'
import { listEarlier } from './earlier.js'
import { dropHandle, keepHandle } from './handles.js'
import { ChunkMap } from './map.js'
import { Pace } from './pace.js'
import { assemble } from './parts.js'
import { isSame } from './plan.js'
import { allow, findFile } from './source.js'
import { Tabs } from './tabs.js'

const STORE = 'copies'
const STATES = { idle: 'Ready', running: 'Copying', paused: 'Paused', finished: 'Finished', stuck: 'Stopped' }

export function copyView() {
  const log = logTo(at('log'))
  const map = new ChunkMap(at('map'), at('map-chunk'), at('legend'))
  const pace = new Pace()
  const tabs = new Tabs()
  let opening
  /** The worker of this tab that has the engine, or waits for its turn. */
  let engine
  let copy
  /** The handle of the file that only wants the user's permission. */
  let waiting
  let saidTenth = -1

  const store = () => (opening ??= openStore())

  async function openStore() {
    try {
      const opened = await open(STORE, { worker: () => (engine = engineWorker()) })
      opened.addEventListener('leader', ({ detail }) => {
        log(detail ? 'This tab’s engine has the job file now.' : 'Another tab’s engine has the job file now.')
      })
      clearStale(opened).catch((error) => problem(reason(error)))
      return opened
    } catch (error) {
      opening = undefined
      throw new Error(`The job store cannot be opened: ${reason(error)}`, { cause: error })
    }
  }

  // What is shown

  function problem(said) {
    write(at('problem'), said)
    at('problem').hidden = said === ''
    if (said !== '') log(said, 'bad')
  }

  /** Does something, and says what went wrong. */
  const attempt = async (work) => {
    try {
      await work()
    } catch (error) {
      problem(reason(error))
    }
  }

  /** For screen readers: seldom. The log speaks for itself. */
  const announce = (text) => (at('announce').textContent = text)

  function need(said, action) {
    at('need').hidden = said === ''
    write(at('need-text'), said)
    at('allow').hidden = action !== 'allow'
    at('pick-again').hidden = said === ''
  }

  function showState() {
    const { state, picture } = copy
    const isDone = state === 'finished'
    const focused = document.activeElement
    at('job').dataset.state = state
    at('state').textContent = STATES[state]
    at('pause').hidden = isDone || state === 'stuck' || copy.file === undefined
    at('pause').textContent = state === 'running' ? 'Pause' : picture.counts.done > 0 ? 'Go on' : 'Start'
    for (const id of ['help', 'crash']) at(id).hidden = isDone
    at('retry').hidden = picture.counts.failed === 0
    at('retry').classList.toggle('primary', state === 'stuck')
    for (const id of ['download', 'verify', 'checksums']) at(id).hidden = !isDone
    if (isDone) need('')
    if (state !== 'running') pace.reset()
    showFigures()
    // Whoever uses the keyboard goes on with what is there in the place of what they pressed.
    if (at('job').contains(focused) && focused.closest('[hidden]') !== null) at('job').querySelector('.main button:not([hidden])').focus()
  }

  function showFigures() {
    const { picture, state } = copy
    const share = picture.bytesAll === 0 ? 0 : picture.bytesDone / picture.bytesAll
    pace.note(performance.now(), picture.bytesDone)
    const isMoving = state === 'running' || picture.counts.elsewhere > 0
    const speed = isMoving ? pace.bytesPerSecond : undefined
    at('percent').textContent = percent(share)
    at('bar').value = share
    at('copied').textContent = bytesOf(picture.bytesDone, picture.bytesAll)
    at('speed').textContent = speed === undefined ? '–' : `${bytes(Math.round(speed))}/s`
    at('left').textContent = isMoving ? span(pace.secondsFor(picture.bytesAll - picture.bytesDone)) : '–'
    for (const [kind, number] of Object.entries(picture.counts)) at(`count-${kind}`).textContent = count(number)
    map.draw()
    const tenth = Math.floor(share * 10)
    if (tenth !== saidTenth && state === 'running') announce(`${tenth * 10} percent copied`)
    saidTenth = tenth
  }

  async function showTabs() {
    at('tabs').textContent = count(await tabs.count())
  }

  // What the user does

  const lanes = () => Number(at('lanes').value)

  async function picked(file, handle) {
    problem('')
    if (copy !== undefined && copy.file === undefined && copy.state !== 'finished' && !at('job').hidden) {
      if (!isSame(file, copy.described)) {
        problem(told`That is not the file: this job needs ${copy.described.name} with ${bytes(copy.described.size)}, as it was when the job began.`)
        return
      }
      const asking = copy
      if (handle !== undefined) await keepHandle(asking.job, handle).catch(() => {})
      return provide(asking, { file, from: 'the file you picked' })
    }
    if (file.size === 0) return problem(told`${file.name} is empty: there is nothing to copy.`)
    const room = await roomFor(file)
    if (room !== undefined) return problem(room)
    const job = await Copy.create(await store(), file)
    if (handle !== undefined) await keepHandle(job, handle).catch(() => {})
    held.set(job, file)
    const address = `#copy/${job}`
    if (location.hash === address) go(job)
    else location.hash = address
  }

  /** Why the rest of a file cannot be copied to this browser's storage, where that is known beforehand. */
  async function roomFor(file) {
    const left = await Copy.left(await store(), file)
    const { quota, usage } = await navigator.storage.estimate()
    const free = quota - usage
    if (left <= free) return undefined
    return told`${file.name} has ${left < file.size ? 'another ' : ''}${bytes(left)}, and this browser gives the page ${bytes(Math.max(free, 0))}. Remove other copies, or free space on the disk.`
  }

  /** What was given up, and why. */
  function stuck() {
    const given = copy.picture.chunks.filter((chunk) => copy.picture.kind(chunk) === 'failed')
    return told`${counted(given.length, 'chunk')} of ${copy.name} could not be copied. Chunk ${given[0].chunk}: ${given[0].error}`
  }

  /** Files that were picked in this tab. */
  const held = new Map()
  /** Copies that the user paused: they go on when the user says so, in whichever tab. */
  const paused = new Set()
  tabs.fileOf = (job) => (held.has(job) ? { file: held.get(job), isPaused: paused.has(job) } : undefined)
  tabs.crash = () => engine?.terminate()

  /** A file for a copy, unless the user has left it meanwhile. */
  function provide(asking, { file, from, isPaused }) {
    if (copy !== asking) return
    held.set(copy.job, file)
    copy.file = file
    need('')
    log(told`Reading ${copy.name} from ${from}.`)
    if (isPaused) {
      paused.add(copy.job)
      copy.state = 'paused'
      log(told`${copy.name} is paused.`)
      showState()
    } else goOn()
  }

  function goOn() {
    paused.delete(copy.job)
    void copy.start(lanes())
  }

  function removedElsewhere({ job, name }) {
    forget(job)
    problem(told`${name} was removed in another tab.`)
    showAll()
  }

  /** What the address named is no more. */
  function showAll() {
    if (!at('copy').hidden) {
      history.replaceState(null, '', '#copy/all')
      at('copy').focus({ preventScroll: true })
    }
    go('all')
  }

  function forget(job) {
    held.delete(job)
    paused.delete(job)
  }

  async function openJob(job) {
    if (copy?.job === job && !at('job').hidden) return
    await leaveJob()
    const opened = new Copy(await store(), job)
    opened.addEventListener('error', ({ detail }) => problem(reason(detail)))
    await opened.open()
    if (opened.isRemoved) return removedElsewhere(opened)
    opened.addEventListener('removed', () => copy === opened && removedElsewhere(opened))
    copy = opened
    saidTenth = -1
    need('')
    at('start').hidden = true
    at('job').hidden = false
    write(at('name'), told`${copy.name}`)
    const { chunks, bytesAll, total } = copy.picture
    at('facts').textContent = `${bytes(bytesAll)} in ${counted(total, 'chunk')}${total === 1 ? '' : ` of ${bytes(chunks[0].payload.bytes)}`}`
    copy.addEventListener('change', ({ detail }) => {
      if (copy !== opened) return
      log(told`${copy.name}: ${STATES[detail].toLowerCase()}, ${counted(copy.picture.counts.done, 'chunk')} of ${count(total)} done.`)
      // The log has said what it came to: a share that was told before holds no more.
      if (detail !== 'running') announce('')
      if (detail === 'stuck') problem(stuck())
      showState()
    })
    copy.picture.addEventListener('change', () => {
      if (copy === opened) showFigures()
    })
    map.show(copy.picture)
    if (copy.picture.isComplete) {
      copy.state = 'finished'
      log(told`${copy.name}: all of it was copied before.`)
    } else if (copy.picture.counts.done > 0) log(told`${copy.name}: found ${counted(copy.picture.counts.done, 'chunk')} of ${count(total)} done already.`)
    showState()
    void showTabs()
    if (copy.state !== 'finished') await findSource(copy)
  }

  async function findSource(asking) {
    const { job, described } = asking
    const mine = held.get(job)
    const found = mine ? { file: mine, from: 'the file you picked', isPaused: paused.has(job) } : await findFile(job, described, tabs)
    if (copy !== asking) return
    if (found.file !== undefined) return provide(asking, found)
    waiting = found.handle
    const kept = copy.picture.counts.done
    const safe = kept > 0 ? ` What is copied stays: ${counted(kept, 'chunk')}.` : ''
    if (waiting !== undefined) need(told`To go on, this page must be allowed to read ${copy.name} again.${safe}`, 'allow')
    else if (found.changed) need(told`${copy.name} has changed since the job began. Pick it as it was, or remove this job and begin anew.${safe}`)
    else need(told`To go on, pick ${copy.name} again: a page may not keep a file open over a reload.${safe}`)
    showState()
  }

  async function leaveJob() {
    if (copy === undefined) return
    const left = copy
    copy = undefined
    at('confirm').close('keep')
    await left.pause()
    left.close()
  }

  /** Ends the engine in the midst of whatever it does. Nobody is told: that it is gone must be noticed. */
  async function crash() {
    const opened = await store()
    const started = performance.now()
    engine.terminate()
    await opened.listJobs({ limit: 1 })
    log(`The engine’s worker was ended in the midst of its work. A new one answered after ${Math.round(performance.now() - started)} ms.`, 'good')
  }

  const task = (id, work) => at(id).addEventListener('click', () => attempt(work))

  /** The same where it takes a while: not twice at once. A button that is disabled loses the focus of whoever has just pressed it. */
  const longTask = (id, work) => {
    let isUnderWay = false
    const tell = (is) => at(id).setAttribute('aria-disabled', (isUnderWay = is))
    task(id, async () => {
      if (isUnderWay) return
      tell(true)
      try {
        await work()
      } finally {
        tell(false)
      }
    })
  }

  task('pause', () => {
    if (copy.state !== 'running') {
      problem('')
      return goOn()
    }
    paused.add(copy.job)
    return copy.pause()
  })
  longTask('crash', async () => {
    // Whichever tab has it: in the others a worker ends that only waited for its turn.
    tabs.crashElsewhere()
    await crash()
  })
  task('retry', async () => {
    problem('')
    const tried = copy
    log(told`${tried.name}: ${counted(await tried.retry(), 'chunk')} will be tried again.`)
    if (copy === tried) goOn()
  })
  task('allow', async () => {
    const asking = copy
    const found = await allow(waiting, asking.described)
    if (found.file !== undefined) provide(asking, found)
    else if (copy === asking) need(told`The file could not be read. Pick ${asking.name} again.`)
  })
  task('download', async () => {
    const { job, parts, name } = copy
    save(await assemble(job, parts), name)
  })
  task('checksums', () => save(new Blob([copy.checksums()], { type: 'text/plain' }), `${copy.name}.sha256`))
  task('export', async () => save(await (await store()).exportFile(), 'copies.redb'))
  longTask('verify', async () => {
    const verified = copy
    const { total } = verified.picture
    const tell = (checked) => {
      if (copy === verified) at('state').textContent = `Verifying ${count(checked)} of ${count(total)}`
    }
    const wrong = await verified.verify(lanes(), tell)
    // Whoever left it hears nothing more of it.
    if (copy !== verified || verified.isRemoved) return
    showState()
    if (wrong.length === 0) return log(told`${verified.name}: verified, every chunk of the copy has its checksum.`, 'good')
    await verified.reset(wrong)
    if (copy !== verified) return
    problem(told`${counted(wrong.length, 'chunk')} of the copy of ${verified.name} had another checksum than what was read (${wrong.slice(0, 8).join(', ')}). What is wrong will be copied again.`)
    await findSource(verified)
  })
  task('remove', () => {
    // What was answered the last time would hold for whoever leaves by Escape.
    at('confirm').returnValue = 'keep'
    at('confirm').showModal()
  })
  at('confirm').addEventListener('close', () => {
    if (at('confirm').returnValue === 'remove') void attempt(remove)
  })

  async function remove() {
    const removed = copy
    try {
      await removed.remove()
      log(told`Removed ${removed.name}.`)
    } finally {
      forget(removed.job)
      await dropHandle(removed.job).catch(() => {})
      // Unless the user went on to another one meanwhile.
      if (copy === removed || copy === undefined) showAll()
    }
  }

  at('lanes').addEventListener('change', async () => {
    const slowed = copy
    if (slowed?.state !== 'running') return
    await slowed.pause()
    if (copy === slowed && !paused.has(slowed.job)) goOn()
  })

  for (const id of ['file', 'file-again']) {
    at(id).addEventListener('change', ({ target }) => {
      const file = target.files[0]
      target.value = ''
      if (file !== undefined) void attempt(() => picked(file))
    })
    // A picker that gives a handle spares the next pick after a reload.
    at(id).addEventListener('click', (event) => {
      if (typeof showOpenFilePicker !== 'function') return
      event.preventDefault()
      showOpenFilePicker()
        .then(async ([handle]) => picked(await handle.getFile(), handle))
        .catch((error) => error.name === 'AbortError' || problem(reason(error)))
    })
  }
  setInterval(() => {
    if (copy === undefined || document.hidden) return
    showFigures()
    void showTabs()
  }, 1_000)

  async function show(argument) {
    const job = Number(argument)
    try {
      if (Number.isSafeInteger(job) && job > 0) {
        at('helper').href = `#copy/${job}`
        return await openJob(job)
      }
      if (argument === undefined && copy !== undefined) return history.replaceState(null, '', `#copy/${copy.job}`)
      await leaveJob()
    } catch (error) {
      problem(error.code === 'job_not_found' ? 'There is no such copy in this browser any more.' : reason(error))
    }
    at('job').hidden = true
    at('start').hidden = false
    at('earlier').hidden = (await listEarlier(await store(), at('earlier-list'))) === 0
  }

  // One after the other, however fast the user goes.
  let turn = Promise.resolve()
  const go = (argument) => {
    turn = turn.then(() => attempt(() => show(argument)))
  }
  return {
    show(argument) {
      if (argument !== undefined) problem('')
      go(argument)
    },
    take: (file, handle) => attempt(() => picked(file, handle)),
    refuse: (what) => problem([...what, ': drop a single file.']),
  }
}
