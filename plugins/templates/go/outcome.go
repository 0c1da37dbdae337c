//go:build outcome

package main

// What the host calls where a policy defines settle.

import "unsafe"

//go:wasmexport settle
func exportSettle(arguments unsafe.Pointer) unsafe.Pointer {
	return answer(32, func(at memory) error {
		said, err := settle(liftReceipt(arguments), liftReply(unsafe.Add(arguments, receiptSize)))
		if err == nil && said != nil {
			at.byte(4, 1)
			at.byte(8, uint8(said.Disposition))
			at.option(12, said.Memo)
			at.number(24, said.RetentionSeconds)
		}
		return err
	})
}

//go:wasmexport cabi_post_settle
func postSettle(result unsafe.Pointer) { held = held[:0] }
