import { Dialog } from './dialog'

const KEYS: [string, [string, string][]][] = [
  ['Everywhere', [['1 – 4', 'the pages, from left to right'], ['?', 'this list'], ['Esc', 'close']]],
  ['Customers', [['/', 'search'], ['j  k', 'down, up (also the arrows)'], ['Enter', 'open'], ['x', 'mark'], ['e', 'export what is marked, or everything that matches']]],
  ['One customer', [['r', 'record an event'], ['b', 'back to the list']]],
  ['Charts', [['← →', 'day by day, point by point'], ['Enter', 'explain the change since that day']]],
  ['Curve', [['← → ↑ ↓', 'move a point (Shift: in larger steps)'], ['+  Delete', 'add a point, remove one']]],
]

export function KeyHelp({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      {KEYS.map(([where, keys]) => (
        <section key={where} className="mb-3">
          <h3 className="label mb-1">{where}</h3>
          <dl className="grid grid-cols-[7rem_1fr] gap-y-1">
            {keys.map(([key, what]) => [
              <dt key={key}><kbd className="rounded border border-line bg-raised px-1.5 whitespace-pre">{key}</kbd></dt>,
              <dd key={key + 'd'} className="text-soft">{what}</dd>,
            ])}
          </dl>
        </section>
      ))}
    </Dialog>
  )
}
