//go:build presentation

package main

// What the host calls where a policy defines present and explain.

import "unsafe"

//go:wasmexport present
func exportPresent(arguments unsafe.Pointer) unsafe.Pointer {
	return answer(36, func(at memory) error {
		operation := unsafe.Add(arguments, receiptSize)
		reply := liftReply(unsafe.Add(operation, operationSize))
		said, err := present(liftReceipt(arguments), liftOperationAt(operation), reply)
		if err == nil && said != nil {
			at.byte(4, 1)
			at.fields(8, said.Set)
			at.texts(16, said.Remove)
			at.option(24, said.Body)
		}
		return err
	})
}

//go:wasmexport cabi_post_present
func postPresent(result unsafe.Pointer) { held = held[:0] }

//go:wasmexport explain
func exportExplain(arguments unsafe.Pointer) unsafe.Pointer {
	return answer(28, func(at memory) error {
		said, err := explain(liftOperationAt(arguments), liftProblem(unsafe.Add(arguments, operationSize)))
		if err == nil && said != nil {
			at.byte(4, 1)
			at.half(8, said.Status)
			at.fields(12, said.Fields)
			at.text(20, said.Body)
		}
		return err
	})
}

//go:wasmexport cabi_post_explain
func postExplain(result unsafe.Pointer) { held = held[:0] }
